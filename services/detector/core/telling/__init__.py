"""Says what was found: sentences, recommendations, explanations, charts. Pure; decides nothing."""
