"""`docs/alerts.md` names every status, reason, metric and aggregation, and its example is a file that works."""

from __future__ import annotations

import re
from pathlib import Path

from services.alerter.core.metrics import Aggregation, Metric
from services.alerter.core.model import Reason, Severity, Status, Told
from services.alerter.shell.channels import load_channels

TEXT = (Path(__file__).parents[3] / "docs" / "alerts.md").read_text()


def test_every_status_reason_metric_and_aggregation_is_documented():
    for kind in (Status, Reason, Metric, Severity):
        for member in kind:
            assert f"`{member}`" in TEXT, member
    for aggregation in set(Aggregation) - {Aggregation.CALL}:
        assert f"`{aggregation}`" in TEXT, aggregation
    assert "raised, upgraded, escalated, resolved" in TEXT
    assert len(Told) == 4


def test_the_example_of_channels_is_read_as_written(tmp_path):
    (example,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    tmp_path.chmod(0o700)
    path = tmp_path / "notifications.toml"
    path.write_text(example)
    path.chmod(0o600)
    assert list(load_channels(tmp_path).by_name) == ["google_chat", "oncall"]
