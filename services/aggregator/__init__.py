"""The aggregator: folds the stream into minutes, those into hours and days, answers from them, and cleans up.

If it dies nothing acknowledged is lost: minute rollups are one SQLite transaction with the place in the journal, hours and days
are files made from them, and a file is written before its mark as stale goes. What came after is replayed.
"""
