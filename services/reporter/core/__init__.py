"""Decisions of the reporter: pure, told the time, given the other services' answers."""
