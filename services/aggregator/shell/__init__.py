"""The shell of the aggregator: the stream, the database, the files and the queries around the core."""

from __future__ import annotations

import threading

from services.aggregator.shell.cleanup import Cleanup
from services.aggregator.shell.queries import Queries
from services.aggregator.shell.state import AggregatorState
from shared.consumer import Consumer
from shared.runtime.service import Service, now_ms
from shared.timespan import day_of
from shared.trusted_clock import TrustedClock, parse_anchor

__all__ = ["build"]

#: How often it is looked whether a day has begun that was not cleaned up for.
CLEANUP_CHECK_S = 5.0
#: Pause before a daily clean-up that could not do all is tried again.
CLEANUP_RETRY_MS = 60_000


def build(service: Service) -> None:
    """Put the service together and join the stream."""
    # The consumer needs the state and the state the consumer's files and the clean-up: late bound.
    state = AggregatorState(
        service.data,
        ask_for_cleanup=lambda reason: cleanup.start(reason),  # noqa: PLW0108 - not bound yet
        on_ready=lambda: threading.Thread(target=queries.warm_up, name="warm-up", daemon=True).start(),
    )
    consumer = Consumer(service, state)
    clock = TrustedClock(now_ms, anchor=parse_anchor(state.database.clock()))
    cleanup = Cleanup(service.data, service.settings, state, consumer.lock, clock)
    queries = Queries(service.data, service.settings, state, consumer, cleanup=cleanup, clock=now_ms)
    service.rpc.register("rollup", queries.rollup, slow=True)
    service.rpc.register("series", queries.series, slow=True)
    service.rpc.register("freshness", queries.freshness)
    service.rpc.register("cleanup", queries.cleanup, slow=True, mutation=True)
    service.every(CLEANUP_CHECK_S, lambda: _clean_up_daily(service, state, cleanup, clock))
    service.stats["clockAhead"] = lambda: clock.ahead
    _register_stats(service, state, queries, cleanup)
    service.serve()
    consumer.start()
    service.call_soon(lambda: _clean_up_daily(service, state, cleanup, clock))


def _clean_up_daily(service: Service, state: AggregatorState, cleanup: Cleanup, clock: TrustedClock) -> None:
    now = clock()
    if service.ready and day_of(state.cleaned_ms) != day_of(now) and abs(now - cleanup.began_ms) >= CLEANUP_RETRY_MS:
        cleanup.start("daily")


def _register_stats(service: Service, state: AggregatorState, queries: Queries, cleanup: Cleanup) -> None:
    service.stats.update(
        series=lambda: len(state.registry),
        overflowed_total=lambda: state.overflowed_total,
        late_total=lambda: state.memory.late_total,
        dropped_too_old_total=lambda: state.memory.dropped_total,
        staleFiles=lambda: len(state.memory.stale),
        files_written_total=lambda: state.files.written_total,
        file_write_failures_total=lambda: state.write_failures_total,
        bad_files_total=lambda: state.files.bad_files_total,
        skipped_objects_total=lambda: state.files.skipped_objects_total,
        bad_rows_total=lambda: state.database.bad_rows_total,
        cacheBytes=lambda: state.cache.size_bytes,
        cache_hits_total=lambda: state.cache.hits_total,
        cache_misses_total=lambda: state.cache.misses_total,
        rollupsBySource=lambda: dict(queries.by_source_total),
        cleanups_total=lambda: cleanup.runs_total,
        cleanup_failures_total=lambda: cleanup.failures_total,
        cleaned_files_total=lambda: cleanup.removed_files_total,
        cleaned_bytes_total=lambda: cleanup.removed_bytes_total,
    )
