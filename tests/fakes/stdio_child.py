"""A child process that a proxy stands before: `python stdio_child.py MODE [ARGUMENT…]`, of the standard library alone."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from pathlib import Path


def echo() -> None:
    """Give back every byte, as it comes, until the end."""
    while chunk := os.read(0, 100_000):
        left = memoryview(chunk)
        while left:
            left = left[os.write(1, left) :]


def digest() -> None:
    """Read to the end, then answer with the digest of it: needs the end to be passed on, and the other way left open."""
    found = hashlib.sha256()
    while chunk := os.read(0, 1 << 20):
        found.update(chunk)
    os.write(1, found.hexdigest().encode())


def pour(size: str) -> None:
    """Write so many bytes and never read."""
    left = int(size)
    while left:
        left -= os.write(1, b"z" * min(left, 1 << 20))


def tell() -> None:
    """What this process was given."""
    environment = sorted(Path("/proc/self/environ").read_bytes().split(b"\0"))
    os.write(1, repr((environment, Path("/proc/self/cmdline").read_bytes(), str(Path.cwd()))).encode())


def leave(code: str) -> None:
    """End with this code."""
    sys.exit(int(code))


def die(number: str) -> None:
    """End by this signal."""
    os.kill(os.getpid(), int(number))
    time.sleep(60)


def idle() -> None:
    """Wait for signals in slices: one that comes right before `signal.pause` would be lost in it."""
    time.sleep(0.05)


def catch() -> None:
    """Say which signal came, and end with 40 + its number."""

    def caught(number: int, _frame: object) -> None:
        os.write(1, f"{signal.Signals(number).name}\n".encode())
        os._exit(40 + number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, caught)
    os.write(1, b"ready\n")
    while True:
        idle()


def count() -> None:
    """Write a line for each SIGINT; at SIGTERM say so and end."""
    signal.signal(signal.SIGINT, lambda *_: os.write(1, b"int\n"))
    signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b"term\n"), os._exit(0)))
    os.write(1, b"ready\n")
    while True:
        idle()


def stubborn() -> None:
    """Ignore the end of input and polite signals; the process id tells who to look for."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.write(1, f"{os.getpid()}\n".encode())
    while True:
        idle()


def mute() -> None:
    """Close the output and go on reading; end with 7 when the input ends."""
    os.close(1)
    while os.read(0, 1000):
        pass
    os._exit(7)


def deaf() -> None:
    """Close the input and go on; end when told by a signal."""
    os.close(0)
    os.write(1, b"deaf\n")
    idle()


def heir() -> None:
    """Leave behind a process that holds the output open; its id is written first."""
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    os.write(1, f"{child}\n".encode())
    os._exit(5)


def complain() -> None:
    """Write to stderr."""
    os.write(2, b"to stderr\n")


def answer() -> None:
    """A tiny server: answers each request line with its id, but for calls of the tool `silent`."""
    import json

    for line in sys.stdin.buffer:
        message = json.loads(line)
        if "id" in message and message["params"]["name"] != "silent":
            sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {"content": []}}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
