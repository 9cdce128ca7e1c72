"""Every size limit at the door, each with what it bounds."""

from typing import Final

#: One message frame, after which the socket drops the peer (ZeroMQ's MAXMSGSIZE is per frame).
MAX_FRAME_BYTES: Final = 16 * 1024 * 1024
#: One committed entry in the journal and on the stream: a message's rows with their paths and redacted errors.
MAX_ENTRY_BYTES: Final = 4 * MAX_FRAME_BYTES
#: Rows in one message: 100,000 full rows are about 4.5 MB as a record batch.
MAX_ROWS: Final = 100_000
#: Maps and lists in one frame; rows have two each. An empty one takes a byte there and up to 230 bytes here.
MAX_CONTAINERS: Final = 4 * MAX_ROWS
#: A server's or a tool's name, UTF-8 bytes. Longer names are refused, names over 200 bytes get a hashed file name.
MAX_NAME_BYTES: Final = 1_024
#: A producer's identity.
MAX_PRODUCER_BYTES: Final = 128
#: A call id (Claude Code's tool_use_id, a request id).
MAX_CALL_ID_BYTES: Final = 256
#: Characters of an error message that are kept; the rest is cut and marked.
MAX_ERROR_CHARS: Final = 1_000
#: Largest value of each measured column: about 11.5 days; 10,000 cores; 1 EB in MB and KB.
MAX_DURATION_MS: Final = 1e9
MAX_CPU_PERCENT: Final = 1e6
MAX_MEMORY_MB: Final = 1e12
MAX_DISK_IO_KB: Final = 1e15
#: How far ahead of our clock a timestamp may be.
MAX_FUTURE_MS: Final = 10 * 60 * 1000
#: The name under which series beyond the cap are counted; refused from producers.
OVERFLOW_NAME: Final = "__overflow__"
#: What a connection may have unacknowledged before it is told (or one message, if that is larger).
INITIAL_CREDIT_BYTES: Final = 1024 * 1024
#: Without credit a producer sends one message after so long, because a `credit` message may have been lost.
CREDIT_PROBE_S: Final = 5.0
#: Credit that was not renewed for so long is the initial one again, unless it is less.
CREDIT_LAPSE_S: Final = 5.0
#: Messages of a producer in flight; ingest tells 1,024 sequences apart.
MAX_IN_FLIGHT: Final = 256
