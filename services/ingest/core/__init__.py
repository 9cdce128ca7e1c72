"""Decisions of the ingest: what is let in, under which name, in which file, and what has been seen before. Pure."""
