"""The detector: watches the stream for what is abnormal, keeps anomalies as events, and tells the alerter.

If it dies nothing acknowledged is lost: its state is on disk with its place in the journal, and what came after is replayed.
"""
