"""A consumer that keeps every row it was given, so that a test can tell a lost row from a doubled one.

Runs as the service `detector`: `python -m tests.kit.counting_service`. A row of duration FAILS makes `apply` raise, one of
duration KILLS takes the process with it. COUNTING_SAVE_S in the environment is the pause between saves.
"""

from __future__ import annotations

import os
from typing import Any, Final

from perfmon.paths import DataDirectory
from shared.consumer import Consumer, Entry, Position, StoreSnapshot
from shared.database import open_database
from shared.runtime import Service, main
from shared.store.raw import read_raw

FAILS: Final = 123_456.5
KILLS: Final = 654_321.5
#: Long before and after anything a test writes.
FOREVER: Final = (0, 4_102_444_800_000)

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS place (one INTEGER PRIMARY KEY CHECK (one = 1), epoch TEXT NOT NULL, seq INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS durations (value REAL NOT NULL);
"""


class CountingState:
    """Rows in memory until `save`, which writes them with the place in one transaction."""

    def __init__(self, data: DataDirectory) -> None:
        self.data = data
        self.db = open_database(data.state / "counting.db", SCHEMA, 1)
        self.unsaved: list[float] = []
        self.saves = 0
        self.largest = 0
        self.reasons: list[str] = []
        self.consumer: Consumer | None = None

    def load(self) -> Position | None:
        self.unsaved = []
        found = self.db.execute("SELECT epoch, seq FROM place").fetchone()
        return None if found is None else Position(*found)

    def apply(self, entry: Entry, now_ms: int, live: bool) -> bool:
        self.largest = max(self.largest, len(entry.batch))
        values = entry.batch.duration.tolist()
        self.unsaved += values
        if KILLS in values:
            os._exit(66)
        if FAILS in values:
            raise RuntimeError("poison")
        return False

    def save(self, position: Position) -> None:
        self.db.execute("BEGIN IMMEDIATE")
        self.db.executemany("INSERT INTO durations VALUES (?)", [(value,) for value in self.unsaved])
        self.db.execute("INSERT OR REPLACE INTO place VALUES (1, ?, ?)", position)
        self.db.execute("COMMIT")
        self.unsaved = []

    def saved(self, now_ms: int) -> None:
        self.saves += 1

    def rebuild(self, store: StoreSnapshot, reason: str) -> None:
        self.reasons.append(reason)
        rows = read_raw(self.data, *FOREVER, sizes=store.sizes)
        self.db.execute("DELETE FROM durations")
        self.unsaved = rows.batch.duration.tolist()

    def tick(self, now_ms: int) -> bool:
        return False


def build(service: Service) -> None:
    state = CountingState(service.data)
    consumer = state.consumer = Consumer(service, state, save_every_s=float(os.environ.get("COUNTING_SAVE_S", "0.1")))

    def durations(_: dict[str, Any]) -> list[float]:
        with consumer.lock:
            saved = [value for (value,) in state.db.execute("SELECT value FROM durations")]
            return sorted(saved + state.unsaved)

    def wait(params: dict[str, Any]) -> bool:
        return consumer.wait_for(int(params["seq"]), float(params.get("timeoutS", 5.0)))

    service.rpc.register("durations", durations)
    service.rpc.register("reasons", lambda _: state.reasons)
    service.rpc.register("largest", lambda _: state.largest)
    service.rpc.register("wait", wait, slow=True)
    service.serve()
    consumer.start()


if __name__ == "__main__":
    raise SystemExit(main("detector", build))
