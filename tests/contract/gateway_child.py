"""A stdio gateway as a child process, with a pipeline's start that does what the first argument says.

Run by test_tools_stdio.py; never imported.
"""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))


def nothing(data: Any) -> None:
    """A pipeline runs already."""


def fail(data: Any) -> None:
    raise RuntimeError("supervisord did not come up")


def hang(data: Any) -> None:
    threading.Event().wait()


def mark(data: Any) -> None:
    (data.root / "pipeline-wanted").write_text("yes")


def noisy(data: Any) -> None:
    """Everything that libraries and children are known to do to stdout."""
    print("a stray print")  # noqa: T201 - the subject of a test
    sys.stdout.write("a stray write\n")
    sys.__stdout__.write("the original object\n")
    sys.__stdout__.flush()
    os.write(1, b"a stray write to the descriptor\n")
    subprocess.run(["/bin/sh", "-c", "echo from a child; cat"], check=True)


if __name__ == "__main__":
    from services.gateway import stdio_main
    from services.gateway.start_stdio import start

    stdio_main._ensure = globals()[sys.argv[1]]
    sys.exit(start())
