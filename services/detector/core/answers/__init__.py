"""Answers questions: from the book of events, by the named methods, by living a past again. Pure; changes nothing."""
