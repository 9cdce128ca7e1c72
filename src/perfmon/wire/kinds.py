"""The kinds of message. Unknown kinds are refused where an answer is due and skipped elsewhere."""

from enum import StrEnum


class Kind(StrEnum):
    """`kind` of an envelope."""

    ROWS = "rows"  # producer → ingest: a list of maps with the seed's field names
    BATCH = "batch"  # producer → ingest: one columnar record batch
    ACK = "ack"  # ingest → producer: what was stored, cumulative
    CREDIT = "credit"  # ingest → producer: there is room again
    ENTRY = "entry"  # ingest → consumers (PUB header): one committed journal entry
    HEAD = "head"  # ingest → consumers (PUB header): the journal's head, once a second
    DISK_FULL = "disk_full"  # ingest → consumers (PUB header): clean up now
    REQUEST = "request"  # client → service
    REPLY = "reply"  # service → client
