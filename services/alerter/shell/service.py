"""Put the alerter together: state, consumer, requests, figures."""

from __future__ import annotations

from perfmon.paths import user_config_directory
from services.alerter.shell.requests import Requests
from services.alerter.shell.state import AlerterState
from shared.consumer import Consumer
from shared.runtime.service import Service


def build(service: Service) -> None:
    """What `__main__` hands to `shared.runtime.service.main`."""
    state = AlerterState(service.data, service.settings, user_config_directory())
    consumer = Consumer(service, state)
    Requests(state, consumer).register(service.rpc)
    service.stats.update(
        alerts_open=lambda: len(state.core.book.opened()),
        decisions_total=lambda: dict(state.core.decided_total),
        series=lambda: len(state.core.evaluator.series),
        late_rows_total=lambda: sum(w.late_rows_total for w in state.core.evaluator.windows.values()),
        outbox_waiting=lambda: len(state.core.outbox.entries),
        view_failures_total=lambda: state.view_failures_total,
    )
    consumer.start()
    service.on_stop(state.close)
    service.serve()
