"""When the view's files are written, and by which thread.

A few rows are written at once by the loop itself; many by a thread, while the loop goes on committing: formatting and writing
let go of the interpreter. The first time that many rows come together, the compiled formatter is loaded, in a thread too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

import structlog

from services.ingest.view import View
from shared.compiling import compile_apart

#: Rows that the loop writes itself: about a millisecond, so that no acknowledgement waits longer.
INLINE_ROWS: Final = 500
#: Rows that come together only under a load for which the compiled formatter pays.
COMPILE_ROWS: Final = 10_000
#: What is compiled then, and how long it may take.
KERNEL: Final = "services.ingest.core.line_kernel"
COMPILE_LIMIT_S: Final = 120.0


class Appender:
    """One append at a time. `call_soon` must run a callback on the loop's thread, where `ended` is told how it went: the OSError,
    or None. Any other failure is raised there.
    """

    def __init__(
        self, view: View, call_soon: Callable[[Callable[[], None]], None], ended: Callable[[OSError | None], None]
    ) -> None:
        self._view = view
        self._call_soon = call_soon
        self._ended = ended
        self._log = structlog.get_logger()
        self._thread: threading.Thread | None = None
        self._compiling: threading.Thread | None = None
        self._failure: BaseException | None = None

    @property
    def busy(self) -> bool:
        """Whether a thread is writing, or has not been heard of yet."""
        return self._thread is not None

    def begin(self) -> None:
        """Write what waits, in a thread if it is much."""
        if self.busy:
            return
        rows = self._view.pending_rows
        if rows >= COMPILE_ROWS:
            self._compile()
        if rows <= INLINE_ROWS:
            self.finish()
            return
        self._thread = threading.Thread(target=self._run, name="append", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Write everything that waits before returning, after what a thread is at."""
        self._join()
        try:
            self._view.append()
        except OSError as error:
            self._ended(error)
        else:
            self._ended(None)

    def _run(self) -> None:
        try:
            self._view.append()
        except BaseException as error:  # noqa: BLE001 - raised again on the loop's thread
            self._failure = error
        thread = threading.current_thread()
        self._call_soon(lambda: self._heard(thread))

    def _heard(self, thread: threading.Thread) -> None:
        if self._thread is thread:
            self._join()

    def _join(self) -> None:
        if self._thread is None:
            return
        self._thread.join()
        self._thread = None
        failure, self._failure = self._failure, None
        if failure is not None and not isinstance(failure, OSError):
            raise failure
        self._ended(failure)

    def _compile(self) -> None:
        if self._compiling is None:
            self._compiling = threading.Thread(target=self._load, name="compile", daemon=True)
            self._compiling.start()

    def _load(self) -> None:
        # First in a process of its own, which leaves the code in numba's cache: compiling would hold up the loop for seconds.
        try:
            compile_apart((KERNEL,), timeout_s=COMPILE_LIMIT_S)
            self._view.formatter.compile()
        except Exception:  # noqa: BLE001 - whatever numba fails with: the plain formatter says the same
            self._log.exception("formatter_not_compiled")
