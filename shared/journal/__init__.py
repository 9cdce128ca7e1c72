"""The journal: the log of committed batches that is the truth; the JSONL files are its view.

`segment` is one SQLite file, `writer` the one process that commits (ingest), `reader` what consumers catch up from.
"""

from shared.journal.reader import JournalReader, LostPlace
from shared.journal.segment import SegmentInfo, list_segments

__all__ = ["JournalReader", "LostPlace", "SegmentInfo", "list_segments"]
