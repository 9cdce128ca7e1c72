"""What is kept of a series, O(1) bytes each: recent calls, minute summaries, histograms, tracks; and how it becomes bytes."""
