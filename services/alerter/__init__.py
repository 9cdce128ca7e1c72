"""Thresholds, the life cycle of alerts, and telling people.

If this process dies nothing acknowledged is lost: alerts, windows and the outbox are one SQLite transaction with the place in the
journal, and what was not yet told is told after the restart.
"""
