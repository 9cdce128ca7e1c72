"""Entries that make a core fail are kept aside; three deaths on the same entry count as a failure too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.parking import MAX_DEATHS, ParkingLot

EPOCH = "0123456789abcdef"


def die_on(folder: Path, seq: int, epoch: str = EPOCH) -> None:
    """A process that is killed while it works on an entry."""
    code = (
        "import os, signal, sys; from pathlib import Path; from shared.parking import ParkingLot\n"
        "lot = ParkingLot(Path(sys.argv[1])); lot.begin(sys.argv[2], int(sys.argv[3])); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder), epoch, str(seq)], check=False)
    assert done.returncode == -9


def test_a_parked_entry_stays_parked_with_its_body(tmp_path: Path) -> None:
    lot = ParkingLot(tmp_path / "lot")
    assert not lot.holds(EPOCH, 5)
    lot.park(EPOCH, 5, b"poison")
    again = ParkingLot(tmp_path / "lot")
    assert again.holds(EPOCH, 5)
    assert not again.holds(EPOCH, 6)
    assert not again.holds("f" * 16, 5)
    assert again.total == 1
    path = tmp_path / "lot" / "parked" / f"{EPOCH}-5.msgpack"
    assert path.read_bytes() == b"poison"
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_third_death_on_the_same_entry_parks_it(tmp_path: Path) -> None:
    for death in range(1, MAX_DEATHS + 1):
        assert ParkingLot(tmp_path).park_deadly() is None
        die_on(tmp_path, 7)
        assert death <= MAX_DEATHS
    lot = ParkingLot(tmp_path)
    assert lot.park_deadly() == (EPOCH, 7)
    assert lot.holds(EPOCH, 7)
    assert lot.park_deadly() is None
    assert ParkingLot(tmp_path).park_deadly() is None


def test_deaths_on_different_entries_do_not_add_up(tmp_path: Path) -> None:
    for seq in (7, 8, 7, 8, 9):
        die_on(tmp_path, seq)
        assert ParkingLot(tmp_path).park_deadly() is None


def test_a_death_between_entries_counts_for_none(tmp_path: Path) -> None:
    for _ in range(MAX_DEATHS + 1):
        lot = ParkingLot(tmp_path)
        lot.begin(EPOCH, 7)
        lot.done()
        assert lot.park_deadly() is None


def test_deaths_are_forgotten_once_everything_was_caught_up(tmp_path: Path) -> None:
    die_on(tmp_path, 7)
    die_on(tmp_path, 7)
    lot = ParkingLot(tmp_path)
    lot.begin(EPOCH, 7)
    lot.done()
    lot.settle()
    die_on(tmp_path, 7)
    assert ParkingLot(tmp_path).park_deadly() is None


def test_the_count_survives_entries_worked_on_before_the_deadly_one(tmp_path: Path) -> None:
    die_on(tmp_path, 7)
    for _ in range(MAX_DEATHS - 1):
        lot = ParkingLot(tmp_path)
        for seq in (5, 6):
            lot.begin(EPOCH, seq)
            lot.done()
        lot.begin(EPOCH, 7)
        del lot
    assert ParkingLot(tmp_path).park_deadly() == (EPOCH, 7)


@pytest.mark.parametrize("content", [b"", b"\xff" * 32, b"\0" * 500, b"garbage"])
def test_a_mark_of_any_content_is_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "working").write_bytes(content)
    lot = ParkingLot(tmp_path)
    lot.begin(EPOCH, 1)
    lot.done()
    assert not lot.holds(EPOCH, 1)


def test_a_planted_link_for_the_mark_is_not_written_through(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "lot").mkdir(mode=0o700)
    (tmp_path / "lot" / "working").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic"):
        ParkingLot(tmp_path / "lot")
    assert victim.read_bytes() == b"precious"
    assert os.path.lexists(tmp_path / "lot" / "working")


def test_a_death_on_entries_worked_on_together_counts_for_each_of_them(tmp_path: Path) -> None:
    lot = ParkingLot(tmp_path)
    assert lot.suspects() == ("", 0)
    lot.begin(EPOCH, 7, 9)  # and the process is gone
    assert ParkingLot(tmp_path).suspects() == (EPOCH, 9)
    assert ParkingLot(tmp_path).park_deadly() is None
    for _ in range(MAX_DEATHS - 1):
        die_on(tmp_path, 8)
    lot = ParkingLot(tmp_path)
    assert lot.suspects() == (EPOCH, 8)
    assert lot.park_deadly() == (EPOCH, 8)
