"""What tests with real processes share: start a service on a directory of its own, wait for a condition, write and read back.

`waiting` has the one bounded wait, `processes` a service as a child process, `writer` a producer that reads its
acknowledgements, `stored` the JSONL files read with nothing but the standard library.
"""

from tests.kit.processes import ServiceProcess, service_environment
from tests.kit.stored import line, store_snapshot, stored, stored_by_file
from tests.kit.waiting import eventually
from tests.kit.writer import Writer, row

__all__ = [
    "ServiceProcess",
    "Writer",
    "eventually",
    "line",
    "row",
    "service_environment",
    "store_snapshot",
    "stored",
    "stored_by_file",
]
