"""Logs of a service: one line of key=value an event, to stderr, which supervisord keeps and rotates."""

from __future__ import annotations

import logging
import sys

import structlog


def configure_logging(service: str, level: str) -> None:
    """Send structlog to stderr with time, level and the service's name; untrusted values are shown as Python strings."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(
                key_order=["timestamp", "level", "service", "event"], bool_as_flag=False
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
