"""Ingest: the only writer of metrics. Validates, journals, acknowledges, publishes, and appends to the JSONL files.

If it dies nothing that was acknowledged is lost: the journal has it, and the next start completes the files from there.
"""
