"""What every process of the pipeline has: a lock, signals, a parent to watch, a loop, and logs."""

from shared.runtime.locks import LockHeld, ServiceLock
from shared.runtime.logs import configure_logging
from shared.runtime.parent import ParentWatch
from shared.runtime.service import Service, main

__all__ = ["LockHeld", "ParentWatch", "Service", "ServiceLock", "configure_logging", "main"]
