"""The forwarder: starts the server as its own child, passes the bytes, signals and the exit code.

Imports nothing heavy and does nothing but forward; the server is started first and the observer after it. The server gets its own
command line, environment, working directory and stderr. Ends with the server's exit code, 128 + n for signal n, 127 or 126 when
it could not be started. If the forwarder is killed, the server gets the end of its input as when a client dies, and the
observer passes the kill on.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

import perfmon
from perfmon.wrap.arguments import HELP, USAGE, HelpWanted, UsageError, WrapOptions, parse
from perfmon.wrap.environment import original_environment
from perfmon.wrap.frames import FrameKind
from perfmon.wrap.pump import Pump
from perfmon.wrap.tap import Tap

#: Signals a client sends to a server that it runs.
FORWARDED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
#: Of these, what a terminal sends to all processes in its foreground, so that the server has it already.
FROM_TERMINAL: Final = frozenset({signal.SIGINT, signal.SIGQUIT})
#: After the server's end: silence after which output is no longer waited for, when a process it left behind holds it open.
DRAIN_SILENCE_S: Final = 0.5
#: How long the observer may take to read the last copies before the exit no longer waits for it.
TAP_CLOSE_S: Final = 1.0
USAGE_EXIT: Final = 2
NOT_EXECUTABLE_EXIT: Final = 126
NOT_FOUND_EXIT: Final = 127


def main(argv: Sequence[str]) -> NoReturn:
    """Run, and leave the process with the server's exit code without waiting for threads that block in a read."""
    try:
        code = run(parse(argv))
    except HelpWanted:
        os.write(1, HELP.encode())
        code = 0
    except UsageError as error:
        _say(f"{error}\n{USAGE}")
        code = USAGE_EXIT
    os._exit(code)


def run(options: WrapOptions) -> int:
    """Forward between our stdin and stdout and the server's until it ends; its exit code."""
    signals = _Signals()
    try:
        server = subprocess.Popen(
            options.command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=original_environment(),
        )
    except (OSError, ValueError) as error:
        _say(f"cannot run {options.command[0]!r}: {getattr(error, 'strerror', None) or error}")
        return NOT_FOUND_EXIT if isinstance(error, FileNotFoundError | NotADirectoryError) else NOT_EXECUTABLE_EXIT
    signals.pass_to(server)
    reading, writing = os.pipe()
    tap = Tap(writing)
    to_client = _connect(server, tap)
    _start_observer(options, server.pid, reading)
    tap.start()
    code = signals.wait_for(server)
    _drain(to_client)
    if not tap.close(TAP_CLOSE_S):
        _say("observation ended early; the traffic was not affected, the last calls were not recorded")
    return code if code >= 0 else 128 - code


def _connect(server: subprocess.Popen[bytes], tap: Tap) -> Pump:
    """Start both pumps; the one to the client is returned."""
    assert server.stdin is not None
    assert server.stdout is not None
    close_server_input, close_server_output = server.stdin.close, server.stdout.close

    def client_is_done() -> None:
        close_server_input()

    def server_reads_no_more() -> None:
        _let_go(0, os.O_RDONLY)
        close_server_input()

    def server_is_done() -> None:
        _let_go(1, os.O_WRONLY)

    def client_reads_no_more() -> None:
        close_server_output()
        _let_go(1, os.O_WRONLY)

    to_server = Pump(
        FrameKind.TO_SERVER,
        0,
        server.stdin.fileno(),
        tap,
        on_source_end=client_is_done,
        on_sink_end=server_reads_no_more,
    )
    to_client = Pump(
        FrameKind.TO_CLIENT,
        server.stdout.fileno(),
        1,
        tap,
        on_source_end=server_is_done,
        on_sink_end=client_reads_no_more,
    )
    to_server.start()
    to_client.start()
    return to_client


def _start_observer(options: WrapOptions, pid: int, reading: int) -> None:
    """Start the observer in a session of its own: neither Ctrl-C nor a killed process group keeps it from delivering."""
    arguments = ["--pid", str(pid), "--command", Path(options.command[0]).name]
    if options.name is not None:
        arguments += ["--name", options.name]
    if options.data_dir is not None:
        arguments += ["--data-dir", options.data_dir]
    # What PYTHON* variables say is meant for the server, which may be of another Python.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment["PYTHONPATH"] = str(Path(perfmon.__file__).parents[1])
    with contextlib.suppress(OSError):
        subprocess.Popen(  # it outlives us for a moment, so it is not waited for
            [sys.executable, "-P", "-m", "perfmon.wrap.observe", *arguments],
            stdin=reading,
            stdout=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
    os.close(reading)


def _drain(pump: Pump) -> None:
    """Wait until all output is forwarded: to its end, or until nothing more comes while it is held open."""
    moved_bytes = -1
    while pump.is_alive() and (pump.writing or pump.moved_bytes != moved_bytes):
        moved_bytes = pump.moved_bytes
        pump.join(DRAIN_SILENCE_S)


def _let_go(fd: int, flags: int) -> None:
    """Close our end of a pipe so that the other end sees it, and keep the number from being given to another file."""
    nothing = os.open(os.devnull, flags)
    os.dup2(nothing, fd)
    os.close(nothing)


class _Signals:
    """Passes signals on; those that come before there is a server wait for it."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[bytes] | None = None
        self._waiting: list[int] = []
        self._woken, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        # Without a handler of ours its byte would not be written.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in FORWARDED:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._arrived)

    def pass_to(self, server: subprocess.Popen[bytes]) -> None:
        """The server is there."""
        self._server = server
        while self._waiting:
            server.send_signal(self._waiting.pop(0))

    def wait_for(self, server: subprocess.Popen[bytes]) -> int:
        """The server's exit code. A signal that comes in the moment before we wait is passed on too: it leaves a byte."""
        while (code := server.poll()) is None:
            select.select([self._woken], [], [])
            os.read(self._woken, 64)
        return code

    def _arrived(self, number: int, _frame: FrameType | None) -> None:
        if self._server is None:
            self._waiting.append(number)
        elif number not in FROM_TERMINAL or not _in_foreground():
            self._server.send_signal(number)


def _in_foreground() -> bool:
    """Whether a terminal's Ctrl-C reaches the server without us."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"perfmon wrap: {text}\n".encode("utf-8", "backslashreplace"))
