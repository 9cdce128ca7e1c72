"""One file a performance claim: each prints a table that says what was measured, and can write it as JSON."""
