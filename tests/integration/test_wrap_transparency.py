"""The proxy with real processes: bytes, ends, signals and exit codes are as without it."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import itertools
import os
import pty
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import psutil
import pytest

#: The longest that any process here is waited for.
LIMIT_S = 60
CHILD = Path(__file__).parents[1] / "fakes" / "stdio_child.py"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def _command(data_dir: Path, *child: str) -> list[str]:
    server = [sys.executable, str(CHILD), *child]
    return [sys.executable, "-P", "-m", "perfmon.wrap", "--data", str(data_dir), "--", *server]


@contextlib.contextmanager
def _wrapped(data_dir: Path, *child: str, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        _command(data_dir, *child),
        **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},  # type: ignore[call-overload] # any option
    )
    try:
        yield process
    finally:
        process.kill()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        process.wait(LIMIT_S)


def _run(data_dir: Path, *child: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(_command(data_dir, *child), input=given, capture_output=True, timeout=LIMIT_S, check=False)


def _feed(stream: IO[bytes], pieces: list[bytes]) -> threading.Thread:
    def write() -> None:
        for piece in pieces:
            stream.write(piece)
            stream.flush()
        stream.close()

    thread = threading.Thread(target=write)
    thread.start()
    return thread


def _pieces(seed: int, total: int) -> list[bytes]:
    """Bytes of every kind in pieces of every size: lines, carriage returns, zeros, JSON, half JSON, noise."""
    chance = random.Random(seed)
    pieces, size = [], 0
    while size < total:
        piece = chance.choice(
            [
                lambda: chance.randbytes(chance.randrange(1, 200)),
                lambda: chance.randbytes(chance.randrange(60_000, 200_000)),
                lambda: b"\r\n" * chance.randrange(1, 50),
                lambda: b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}\n',
                lambda: b'[{"id":1,"result":{}},{"id":',
                lambda: b"\x00" * chance.randrange(1, 5_000),
                "é\u2028😀\n".encode,
            ]
        )()
        pieces.append(piece)
        size += len(piece)
    return pieces


@pytest.mark.parametrize("seed", [1, 2])
def test_megabytes_of_anything_come_back_as_they_went(data_dir: Path, seed: int) -> None:
    pieces = _pieces(seed, 8 * 1024 * 1024)
    with _wrapped(data_dir, "echo", stderr=None) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        feeder = _feed(process.stdin, pieces)
        found = hashlib.sha256(process.stdout.read()).hexdigest()
        feeder.join(LIMIT_S)
        assert process.wait(LIMIT_S) == 0
    assert found == hashlib.sha256(b"".join(pieces)).hexdigest()


def test_a_line_of_a_hundred_megabytes_passes(data_dir: Path) -> None:
    size = 100 * 1024 * 1024
    block = b'{"id":1,"result":"' + b"y" * (1024 * 1024 - 18)
    with _wrapped(data_dir, "digest", stderr=None) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        feeder = _feed(process.stdin, [block] * (size // len(block)))
        found = process.stdout.read()
        feeder.join(LIMIT_S)
    assert found.decode() == hashlib.sha256(block * (size // len(block))).hexdigest()


def test_a_client_that_reads_late_loses_nothing(data_dir: Path) -> None:
    size = 20 * 1024 * 1024
    with _wrapped(data_dir, "pour", str(size), stderr=None) as process:
        assert process.stdout is not None
        first = process.stdout.read(1)
        server = psutil.Process(process.pid)
        while server.children():  # the server blocks: nothing swallows what nobody reads
            if server.children()[0].status() == psutil.STATUS_SLEEPING:
                break
        assert len(first + process.stdout.read()) == size
        assert process.wait(LIMIT_S) == 0


def test_one_byte_passes_at_once_in_both_directions(data_dir: Path) -> None:
    with _wrapped(data_dir, "echo", bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for byte in (b"a", b"\n", b"\x00", b"\xff"):
            process.stdin.write(byte)
            assert process.stdout.read(1) == byte


def test_the_end_of_input_is_passed_on_and_the_answer_still_comes(data_dir: Path) -> None:
    done = _run(data_dir, "digest", given=b"abc")
    assert (done.returncode, done.stdout.decode()) == (0, hashlib.sha256(b"abc").hexdigest())


def test_the_end_of_output_is_passed_on_while_the_server_goes_on(data_dir: Path) -> None:
    with _wrapped(data_dir, "mute") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.read() == b""
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(LIMIT_S) == 7


def test_a_server_that_stops_reading_breaks_the_clients_pipe(data_dir: Path) -> None:
    with _wrapped(data_dir, "deaf", bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.read(5) == b"deaf\n"
        pipe = process.stdin
        with pytest.raises(BrokenPipeError):
            all(pipe.write(b"x" * 10_000) for _ in itertools.count())
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 128 + signal.SIGTERM


def test_a_client_that_stops_reading_breaks_the_servers_pipe(data_dir: Path) -> None:
    with _wrapped(data_dir, "pour", str(1 << 40)) as process:
        assert process.stdout is not None
        process.stdout.read(10)
        process.stdout.close()
        # Python's own child reports EPIPE as a failure.
        assert process.wait(LIMIT_S) == 1


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_the_exit_code_is_the_servers(data_dir: Path, code: int) -> None:
    assert _run(data_dir, "leave", str(code)).returncode == code


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_server_that_a_signal_killed_is_reported_as_shells_do(data_dir: Path, number: signal.Signals) -> None:
    assert _run(data_dir, "die", str(int(number))).returncode == 128 + number


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_reach_the_server(data_dir: Path, number: signal.Signals) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("whoever runs the tests ignores it (nohup), and so does the wrapper, as it should")
    with _wrapped(data_dir, "catch", start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.stdout.readline().decode() == f"{number.name}\n"
        assert process.wait(LIMIT_S) == 40 + number


def test_ctrl_c_of_a_terminal_reaches_the_server_once(data_dir: Path) -> None:
    keyboard, terminal = pty.openpty()
    take_terminal = (
        "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    )
    command = [sys.executable, "-c", take_terminal, *_command(data_dir, "count")]
    process = subprocess.Popen(command, stdin=terminal, stdout=subprocess.PIPE, start_new_session=True)
    os.close(terminal)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"ready\n"
        os.write(keyboard, b"\x03")
        assert process.stdout.readline() == b"int\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == b"term\n"
        assert process.wait(LIMIT_S) == 0
    os.close(keyboard)


def test_a_killed_proxy_takes_even_a_stubborn_server_with_it(data_dir: Path) -> None:
    with _wrapped(data_dir, "stubborn") as process:
        assert process.stdout is not None
        server = psutil.Process(int(process.stdout.readline()))
        process.kill()
        gone, _ = psutil.wait_procs([server], LIMIT_S)
        assert gone == [server]


def test_a_server_that_leaves_a_process_behind_ends_all_the_same(data_dir: Path) -> None:
    with _wrapped(data_dir, "heir") as process:
        assert process.stdout is not None
        heir = psutil.Process(int(process.stdout.readline()))
        try:
            assert process.wait(LIMIT_S) == 5
            assert heir.is_running()
        finally:
            heir.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("locale", [{}, {"LC_ALL": "C"}, {"LANG": "C"}, {"LC_CTYPE": "C.UTF-8"}])
def test_command_line_environment_and_directory_are_the_servers_own(
    data_dir: Path, tmp_path: Path, locale: dict[str, str]
) -> None:
    odd = ["tell", "", "a b", "--name", "ü", "$HOME", "*"]
    given = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "ODD": "é=\n'\"", "EMPTY": "", **locale}
    # The server ignores the arguments it does not know: only `tell` takes none.
    script = f"import sys; sys.argv = sys.argv[:2]; exec(compile(open({str(CHILD)!r}).read(), 'child', 'exec'))"
    server = [sys.executable, "-c", script, *odd]
    wrapped = [sys.executable, "-P", "-m", "perfmon.wrap", "--data", str(data_dir), "--", *server]
    told = [
        ast.literal_eval(subprocess.run(one, capture_output=True, check=True, env=given, cwd=tmp_path).stdout.decode())
        for one in (server, wrapped)
    ]
    assert told[0] == told[1]


def test_stderr_is_the_servers_own(data_dir: Path) -> None:
    done = _run(data_dir, "complain")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"to stderr\n")


def test_a_command_that_is_not_there_or_cannot_run_is_said(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("no program")
    wrap = [sys.executable, "-P", "-m", "perfmon.wrap", "--"]
    for command, code in (("no-such-command-at-all", 127), (str(tmp_path / "missing"), 127), (str(plain), 126)):
        done = subprocess.run([*wrap, command], capture_output=True, check=False, timeout=LIMIT_S)
        assert done.returncode == code
        assert done.stderr.startswith(b"perfmon wrap: cannot run ")
        assert done.stdout == b""


def test_a_wrong_command_line_is_explained() -> None:
    command = [sys.executable, "-P", "-m", "perfmon.wrap", "--nmae", "x", "--", "true"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=LIMIT_S)
    assert done.returncode == 2
    assert b"usage: perfmon wrap" in done.stderr


def test_sockets_made_non_blocking_by_the_client_work_too(data_dir: Path) -> None:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    size = 4 * 1024 * 1024
    with _wrapped(data_dir, "echo", stdin=theirs.fileno(), stdout=theirs.fileno()), ours:
        theirs.close()
        sender = threading.Thread(target=ours.sendall, args=(b"q" * size,))
        sender.start()
        found = 0
        while found < size:
            chunk = ours.recv(1 << 16)
            assert chunk
            assert set(chunk) == {ord("q")}
            found += len(chunk)
        sender.join(LIMIT_S)


def test_files_of_the_working_directory_are_not_mistaken_for_our_modules(tmp_path: Path, data_dir: Path) -> None:
    for name in ("json.py", "zmq.py", "signal.py", "perfmon.py", "subprocess.py"):
        (tmp_path / name).write_text("raise SystemExit('imported by mistake')")
    command = _command(data_dir, "digest")
    done = subprocess.run(command, input=b"", capture_output=True, check=False, cwd=tmp_path, timeout=LIMIT_S)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_observer_dying_does_not_touch_the_traffic(data_dir: Path) -> None:
    with _wrapped(data_dir, "echo", bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"1")
        assert process.stdout.read(1) == b"1"
        observers: list[psutil.Process] = []
        while not observers:
            children = psutil.Process(process.pid).children()
            observers = [child for child in children if "perfmon.wrap.observe" in child.cmdline()]
        observers[0].kill()
        while observers[0].status() != psutil.STATUS_ZOMBIE:
            pass
        for _ in range(50):
            process.stdin.write(b"x" * 1000)
            found = b""
            while len(found) < 1000:
                found += process.stdout.read(1000 - len(found))
        process.stdin.close()
        assert process.wait(LIMIT_S) == 0
        assert b"observation ended early" in process.stderr.read()
