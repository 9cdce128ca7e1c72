"""Put the detector together: state, consumer, courier, queries, figures."""

from __future__ import annotations

from typing import Final

from services.detector.shell.courier import Courier
from services.detector.shell.queries import Queries
from services.detector.shell.state import DetectorState
from shared.consumer import Consumer
from shared.runtime.service import Service

#: A save writes what changed of every series; an event is saved at once. At 1 M calls/s five seconds are replayed in two.
SAVE_EVERY_S: Final = 5.0


def build(service: Service) -> None:
    """What `__main__` hands to `shared.runtime.service.main`; the kernels are compiled by the import of this module."""

    def delivered(name: str) -> None:
        service.call_soon(lambda: settle(name))

    def settle(name: str) -> None:
        with consumer.lock:
            state.delivered(name)

    courier = Courier(service.data.endpoint("alerter"), delivered)
    state = DetectorState(service.data, service.settings, courier)
    consumer = Consumer(service, state, save_every_s=SAVE_EVERY_S)
    Queries(service, state, consumer).register()
    service.stats.update(
        series=lambda: len(state.watch.engine.series),
        calls_total=lambda: state.watch.engine.calls_total,
        unwatched_calls_total=lambda: state.watch.engine.unwatched_calls_total,
        history_bytes=lambda: state.watch.engine.budget.used_bytes,
        history_refused_total=lambda: state.watch.engine.budget.refused_total,
        events_open=lambda: len(state.watch.book.open),
        sweeps_total=lambda: state.sweeps_total,
        anomalies_waiting=lambda: courier.waiting,
        anomalies_raised_total=lambda: courier.delivered_total,
        anomalies_refused_total=lambda: courier.refused_total,
        file_failures_total=lambda: state.file_failures_total,
    )
    service.on_stop(state.close)
    consumer.start()
    service.serve()
