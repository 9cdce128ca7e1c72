"""The command line of the contract tests around the Python SDK; see adapters.py."""

from __future__ import annotations

import json
import sys
from typing import Any

from perfmon import Producer


class Commands:
    """Each method is a command."""

    producer: Producer

    def open(self, endpoint: str, acknowledged: bool, maxBuffered: int, probeS: float) -> dict[str, Any]:  # noqa: N803 - the adapters' names
        self.producer = Producer(
            endpoint=endpoint,
            acknowledged=acknowledged,
            max_buffered=maxBuffered,
            max_buffered_bytes=1 << 28,
            probe_s=probeS,
        )
        return {"producer": self.producer.producer_id}

    def record(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            self._record(row)

    def fill(self, first: int, count: int, **row: Any) -> None:
        for duration in range(first, first + count):
            self._record(row | {"duration": duration})

    def flush(self, timeoutS: float) -> dict[str, Any]:  # noqa: N803 - the adapters' names
        return {"settled": self.producer.flush(timeoutS)}

    def stats(self) -> dict[str, Any]:
        found = self.producer.stats()
        return {
            "recorded": found.recorded_total,
            "acknowledged": found.acknowledged_total,
            "duplicates": found.duplicates_total,
            "sent": found.sent_total,
            "dropped": found.dropped_total,
            "rejected": found.rejected_total,
            "resent": found.resent_total,
            "inFlight": found.in_flight,
            "buffered": found.buffered,
            "lastError": found.last_error,
        }

    def close(self, timeoutS: float) -> dict[str, Any]:  # noqa: N803 - the adapters' names
        self.producer.close(timeoutS)
        return self.stats()

    def _record(self, row: dict[str, Any]) -> None:
        self.producer.record(
            row["server"],
            row["tool"],
            row["duration"],
            row["success"],
            row.get("error"),
            cpu=row.get("cpu"),
            memory=row.get("memory"),
            disk_io=row.get("diskIO"),
            ts_ms=row.get("ts"),
            call_id=row.get("callId"),
        )


def main() -> None:
    """Serve commands until the end of input."""
    commands = Commands()
    for line in sys.stdin:
        command = json.loads(line)
        answer = getattr(commands, command.pop("do"))(**command)
        sys.stdout.write(json.dumps(answer or {}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
