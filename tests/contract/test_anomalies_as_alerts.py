"""What the detector sends of an anomaly is what the alerter reads out of it."""

from __future__ import annotations

import pytest

from services.alerter.core.anomalies import parse_anomaly
from services.detector.core.telling.explain import anomaly
from tests.unit.detector.detector_kit import MINUTE, batch, make_watch, stored, times


@pytest.mark.parametrize(
    ("ok", "known"), [([0] * 8, False), ([1, 0, 0, 0, 0, 0, 0, 0], False), ([1] * 60 + [0] * 12, True)]
)
def test_a_tool_that_fails_from_its_first_call_on_is_raised_without_a_usual_rate(ok: list[int], known: bool) -> None:
    watch, ts = make_watch(), times(len(ok), 5 * MINUTE)
    for i in range(len(ok)):
        watch.apply(batch(ts[i : i + 1], [50.0], ok[i : i + 1]), live=True)
    (event,) = stored(watch, "error_rate_spike")
    assert event.since_first is not known
    raised = [parse_anomaly(anomaly(one)) for _, one in watch.take_raises()]
    assert raised
    assert all(one.candidate is not None and one.candidate.usual_known is known for one in raised)
