"""The application kit the services stand on: messages, batches, journal, store, queries, runtime, settings.

Imported before everything else of a service, so that structlog does not find rich: the coloured tracebacks of its developer
renderer, which no service uses, would cost every process 6 MB and 30 ms.
"""

import sys

if "structlog" not in sys.modules and "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]  # None is how Python says: not importable
    try:
        import structlog.dev  # noqa: F401 - loaded here for what it does not find
    finally:
        del sys.modules["rich"]
