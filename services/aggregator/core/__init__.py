"""Pure decisions: blocks and how they fold and merge, which of them answer a question, what is kept for how long."""
