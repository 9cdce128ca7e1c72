"""A JSON report keeps to its schema, whatever the servers are called and whoever did not answer."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
import reporter_samples as samples
from hostile import HOSTILE, full_of

from services.reporter.core.answers import Failure
from services.reporter.core.compose import compose
from services.reporter.core.model import IN_ANSWER, IN_FILE
from services.reporter.core.render_json import render

SCHEMA = json.loads((Path(__file__).parent / "report_schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def no_constants(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("limits", [IN_ANSWER, IN_FILE])
def test_the_sample_day_keeps_to_the_schema(limits: object) -> None:
    report = compose(samples.answered(), samples.SPAN, samples.END_MS, errors=samples.errors())
    found = json.loads(render(report, limits), parse_constant=no_constants)  # type: ignore[arg-type] # a parameter
    VALIDATOR.validate(found)
    assert found["summary"]["calls"] == 46_599
    assert found["summary"]["errorRate"] == 0.5494
    assert found["worstByErrorRate"]["tools"][0]["toolName"] == "deploy_application"
    assert found["range"]["period"] == "day"


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:24]))
def test_hostile_names_are_inert_and_bounded(text: str) -> None:
    page = render(full_of(text), IN_FILE)
    VALIDATOR.validate(json.loads(page))
    assert page.isascii()
    assert "<" not in page
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f]", page)
    assert len(page) < 200_000
    strings = re.findall(r'"(?:[^"\\]|\\.)*"', page)
    for raw in strings:
        assert not re.search("[\x00-\x1f\u202a-\u202e\u2066-\u2069\ud800-\udbff](?![\udc00-\udfff])", json.loads(raw))


@pytest.mark.parametrize("service", ["aggregator", "detector", "alerter", "ingest"])
def test_a_service_that_did_not_answer_costs_its_part_and_is_named(service: str) -> None:
    owners = {
        "anomalies": "detector",
        "alerts": "alerter",
        "history": "alerter",
        "thresholds": "alerter",
        "ingest": "ingest",
    }
    raw = {
        name: Failure(service, "unavailable", "no") if owners.get(name, "aggregator") == service else value
        for name, value in samples.raw_answers().items()
    }
    report = compose(samples.answered(raw), samples.SPAN, samples.END_MS)
    found = json.loads(render(report, IN_FILE))
    VALIDATOR.validate(found)
    assert any(service in gap and "did not answer" in gap for gap in found["gaps"])
    answered = {source["service"]: source["answered"] for source in found["sources"]}
    assert answered == {name: name != service for name in ("aggregator", "detector", "alerter", "ingest")}
    assert (found["summary"] is None) == (service == "aggregator")
    assert (found["anomalies"] is None) == (service == "detector")
    assert (found["alerts"]["active"] is None) == (service == "alerter")
    if service == "aggregator":
        assert found["health"] | {"reasons": []} == {
            "score": None,
            "status": "unknown",
            "fewCalls": False,
            "reasons": [],
        }
        assert found["recommendations"] is None
