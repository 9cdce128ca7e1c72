"""What belongs together, what else moved, and what the likely cause is. Pure."""
