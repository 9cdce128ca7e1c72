"""What detect_anomalies asks the detector for and what it answers: briefly, the worst first, with sentence and incident."""

from answers_kit import HOSTILE, MAX_DEFAULT_CHARS, size_of
from gateway_fakes import HOUR_MS, NOW_MS, FakeBackends, anomaly, call

# detect_anomalies


def test_anomalies_are_asked_for_as_the_defaults_say():
    backends = FakeBackends()
    call(backends, "detect_anomalies")
    assert backends.asked[0][2] == {
        "lookbackMs": 6 * HOUR_MS,
        "endMs": NOW_MS,
        "sensitivity": "medium",
        "method": "auto",
        "limit": 20,
        "detail": "compact",
    }


def test_twenty_anomalies_are_told_briefly_rather_than_four_at_length():
    events = [{**anomaly(tool=f"tool_{n}"), "summary": "s" * 250, "recommendations": ["r" * 110]} for n in range(20)]
    found = {"anomalies": events, "summary": {"total": 20, "bySeverity": {}, "byType": {}}}
    result = call(FakeBackends(detector__anomalies=found), "detect_anomalies")
    rows = result.structured_content["anomalies"]
    assert len(rows) >= 8
    assert "summary" in rows[0]
    assert "summary" not in rows[-1]
    assert rows[-1]["details"]["expectedRange"] == "100-500"
    assert f"Showing {len(rows)} of 20, cut to fit: ask again with cursor=" in result.content[0].text
    assert size_of(result) < MAX_DEFAULT_CHARS


def test_a_named_method_tells_what_chance_explains_and_a_line_a_tool():
    row = anomaly() | {"events": 17, "expectedByChance": 12.3, "lastEventTs": NOW_MS}
    row["details"] = {**row["details"], "confidence": None}
    summary = {"total": 17, "rows": 1, "bySeverity": {}, "byType": {}, "expectedByChance": 12, "limit": "above P99"}
    backends = FakeBackends(detector__anomalies={"anomalies": [row], "summary": summary, "coverage": {}})
    result = call(backends, "detect_anomalies", {"method": "percentile"})
    text = result.content[0].text
    assert (
        "Were nothing wrong, percentile (above P99) would still find about 12: it judges single calls by a fixed limit."
        in text
    )
    assert "warning   17      12.3" in text
    assert result.structured_content["cut"] == 0
    assert "Showing" not in text


def test_the_last_anomaly_of_a_lasting_change_tells_both_levels_and_certainty_is_never_claimed():
    one = anomaly()
    one["details"] = {**one["details"], "currentValue": 128, "usual": 80, "deviation": "1.6x", "confidence": 0.9999}
    found = {"anomalies": [one], "summary": {"total": 1, "bySeverity": {}, "byType": {}}}
    text = call(FakeBackends(detector__anomalies=found), "detect_anomalies", {"detail": "full"}).content[0].text
    assert "80 → 128 ms" in text
    assert ">0.99" in text


def test_what_became_the_usual_is_told_from_what_is_over():
    over = {**anomaly(tool="over"), "endTs": NOW_MS - HOUR_MS // 2, "ended": "back inside"}
    stayed = {**over, "toolName": "stayed", "ended": "the new normal"}
    found = {"anomalies": [over, stayed], "summary": {"total": 2, "bySeverity": {}, "byType": {}}}
    lines = call(FakeBackends(detector__anomalies=found), "detect_anomalies").content[0].text.splitlines()
    assert any("12:30      response_time_spike" in line and line.endswith("over") for line in lines)
    assert any("new usual  response_time_spike" in line and line.endswith("stayed") for line in lines)


def test_what_was_not_seen_for_long_is_not_said_to_be_going_on():
    quiet = {**anomaly(tool="quiet"), "lastSeenTs": NOW_MS - HOUR_MS}
    silent = {**quiet, "toolName": "silent", "anomalyType": "throughput_change"}
    lively = {**anomaly(tool="lively"), "lastSeenTs": NOW_MS - HOUR_MS // 4}
    found = {"anomalies": [quiet, silent, lively], "summary": {"total": 3, "bySeverity": {}, "byType": {}}}
    for arguments in ({}, {"detail": "full"}):
        result = call(FakeBackends(detector__anomalies=found), "detect_anomalies", arguments)
        until = {
            line.split()[-1]: line.split()[2:4] for line in result.content[0].text.splitlines() if "github" in line
        }
        assert until["quiet"][0] == "12:00?"
        assert until["silent"] == until["lively"] == ["going", "on"]
        assert [row.get("quietSince") for row in result.structured_content["anomalies"]] == [
            "2025-10-31T12:00:00.000Z",
            None,
            None,
        ]


def test_advice_that_was_given_is_not_repeated():
    found = {"anomalies": [anomaly(), anomaly(tool="b")], "summary": {"total": 2, "bySeverity": {}, "byType": {}}}
    text = call(FakeBackends(detector__anomalies=found), "detect_anomalies", {"detail": "full"}).content[0].text
    assert text.count("look at the last deployment first") == 1
    assert "do: as for 1: Errors rose at the same time" in text


def test_the_likely_cause_is_not_told_again_as_advice():
    cause = {"sentence": "memory of “a” rose since 12:00Z, 9 min before its calls became slow", "confidence": 0.7}
    one = anomaly() | {
        "recommendations": [
            "Memory" + cause["sentence"][6:] + ". Likely the cause (confidence 0.7): start there.",
            "Else.",
        ],
        "incident": {"id": "incident-1", "role": "effect", "members": 2, "likelyCause": cause},
        "summary": "It was slow; likely cause (0.7): " + cause["sentence"] + ".",
    }
    found = {"anomalies": [one], "summary": {"total": 1, "bySeverity": {}, "byType": {}}}
    text = call(FakeBackends(detector__anomalies=found), "detect_anomalies", {"detail": "full"}).content[0].text
    assert text.count("9 min before") == 1
    assert "do: Else." in text


def test_an_anomaly_keeps_the_seeds_shape():
    result = call(FakeBackends(), "detect_anomalies")
    found = result.structured_content["anomalies"][0]
    assert found["anomalyType"] == "response_time_spike"
    assert found["details"]["expectedRange"] == "100-500"
    assert len(found["recommendations"]) == 1
    assert result.structured_content["summary"]["total"] == 1


def test_full_detail_gives_the_whole_event_with_times_to_read():
    found = call(FakeBackends(), "detect_anomalies", {"detail": "full"}).structured_content["anomalies"][0]
    assert found["startTs"] == "2025-10-31T12:00:00.000Z"
    assert found["endTs"] is None
    assert found["points"] == 12
    assert len(found["recommendations"]) == 2


def test_many_anomalies_are_cut_to_the_worst():
    events = [anomaly("a-server-with-a-long-name", f"tool_{n}", "warning") for n in range(19)]
    events.append(anomaly("worst", "one", "critical"))
    backends = FakeBackends(
        detector__anomalies={"anomalies": events, "summary": {"total": 300, "bySeverity": {}, "byType": {}}}
    )
    result = call(backends, "detect_anomalies")
    assert size_of(result) < MAX_DEFAULT_CHARS
    assert result.structured_content["anomalies"][0]["mcpServer"] == "worst"
    assert result.structured_content["cut"] == 300 - len(result.structured_content["anomalies"])


def test_nothing_found_is_told_from_no_data():
    nothing = {"anomalies": [], "summary": {"total": 0, "bySeverity": {}, "byType": {}}, "coverage": {}}
    quiet = call(FakeBackends(detector__anomalies=nothing), "detect_anomalies")
    assert "No anomaly found" in quiet.content[0].text
    stale = FakeBackends(
        detector__anomalies=nothing,
        aggregator__series={"series": [["a", "b", NOW_MS - 7 * HOUR_MS]], "overflow": 0},
    )
    assert "No data in the lookback window" in call(stale, "detect_anomalies").content[0].text


def test_nothing_found_says_what_was_looked_at_and_when_history_is_too_short():
    coverage = {
        "series": 1,
        "calls": 26,
        "since": "2025-10-31T12:04:09.000Z",
        "minCalls": 20,
        "seriesWithTooFewCalls": 0,
    }
    nothing = {"anomalies": [], "summary": {"total": 0, "bySeverity": {}, "byType": {}}}
    text = call(FakeBackends(detector__anomalies={**nothing, "coverage": coverage}), "detect_anomalies").content[0].text
    assert text.startswith("No anomaly found in this window. Looked at 26 calls of 1 tool since 2025-10-31T12:04Z.")
    short = {**coverage, "calls": 6, "seriesWithTooFewCalls": 1}
    text = call(FakeBackends(detector__anomalies={**nothing, "coverage": short}), "detect_anomalies").content[0].text
    assert "No anomaly" not in text
    assert "Looked at 6 calls of 1 tool since" in text
    assert "it has too little history to know what is usual (auto needs 20 calls a tool)" in text


def test_full_detail_is_in_the_anomalies_text_too_with_advice_and_evidence():
    whole = {**anomaly(), "evidence": {"neighbours": 3}}
    found = {"anomalies": [whole], "summary": {"total": 1, "bySeverity": {}, "byType": {}}, "coverage": {}}
    backends = FakeBackends(detector__anomalies=found)
    text = call(backends, "detect_anomalies", {"detail": "full"}).content[0].text
    assert text.startswith("1 anomaly, ")
    for word in ("10x", "0.97", "z-score", "going on", "do: second", '"neighbours": 3'):
        assert word in text
    assert "second" not in call(backends, "detect_anomalies").content[0].text


INCIDENT = {
    "id": "incident-20251031-1f3a",
    "cause": "memory of “search” rose since 12:02Z, 6 min before its calls became slow",
    "confidence": 0.72,
    "members": 5,
    "since": NOW_MS - HOUR_MS,
    "until": None,
    "servers": ["docs"],
}


def of_incidents(incidents: list[dict[str, object]], **more: object) -> FakeBackends:
    cause = {"sentence": INCIDENT["cause"], "confidence": 0.72, "anomaly": "anomaly-2", "kind": "resource_spike"}
    told = {
        "summary": "“get_issue” of “github” became slow",
        "incident": {"id": INCIDENT["id"], "role": "effect", "members": 5, "servers": 1, "likelyCause": cause},
    }
    one = {**anomaly(), **told, "explanation": {"part": "calls", "chart": ["  █"]}}
    one["details"] = {**one["details"], "direction": "above"}
    summary = {"total": 1, "bySeverity": {}, "byType": {}, "incidents": incidents, **more}
    return FakeBackends(detector__anomalies={"anomalies": [one], "summary": summary, "coverage": {}})


def test_an_anomaly_is_told_with_its_sentence_and_incident():
    result = call(of_incidents([INCIDENT]), "detect_anomalies")
    (one,) = result.structured_content["anomalies"]
    assert one["id"] == "anomaly-1"
    assert one["summary"] == "“get_issue” of “github” became slow"
    assert one["incident"] == {"id": "incident-20251031-1f3a", "role": "effect"}
    assert one["details"]["direction"] == "above"
    assert "explanation" not in one
    (incident,) = result.structured_content["summary"]["incidents"]
    assert (incident["members"], incident["since"], incident["until"]) == (5, "2025-10-31T12:00:00.000Z", None)
    text = result.content[0].text
    assert "incident-20251031-1f3a: 5 anomalies of docs since 2025-10-31T12:00Z; likely cause (0.72): memory of" in text


def test_full_detail_passes_the_explanation_and_the_likely_cause_on():
    (one,) = call(of_incidents([INCIDENT]), "detect_anomalies", {"detail": "full"}).structured_content["anomalies"]
    assert one["explanation"] == {"part": "calls", "chart": ["  █"]}
    assert one["incident"]["likelyCause"]["confidence"] == 0.72


def test_an_incident_of_one_anomaly_without_a_cause_is_not_spoken_of():
    alone = {**INCIDENT, "members": 1, "cause": None, "confidence": None}
    for detail in ("compact", "full"):
        answer = call(of_incidents([alone, INCIDENT]), "detect_anomalies", {"detail": detail})
        assert answer.content[0].text.count("incident-20251031-1f3a:") == 1
        assert [one["members"] for one in answer.structured_content["summary"]["incidents"]] == [5]


def test_an_anomaly_has_the_same_type_in_text_and_data():
    backends = of_incidents([INCIDENT])
    (one,) = backends.replies["detector", "anomalies"]["anomalies"]
    one |= {"anomalyType": "resource_spike", "details": {**one["details"], "kind": "resource_step"}}
    result = call(backends, "detect_anomalies")
    assert result.structured_content["anomalies"][0]["anomalyType"] == "resource_spike"
    assert "resource_spike (step)" in result.content[0].text


def test_many_incidents_with_long_hostile_names_stay_small():
    wide = {**INCIDENT, "cause": HOSTILE * 60, "servers": [HOSTILE * 9 + str(n) for n in range(100)]}
    result = call(of_incidents([wide] * 40), "detect_anomalies")
    assert len(result.structured_content["summary"]["incidents"]) == 3
    assert len(result.structured_content["summary"]["incidents"][0]["servers"]) == 6
    assert size_of(result) < MAX_DEFAULT_CHARS
    assert "\x1b" not in result.content[0].text


def test_a_named_method_that_finds_nothing_says_what_auto_finds():
    nothing = {"anomalies": [], "summary": {"total": 0, "bySeverity": {}, "byType": {}, "autoFinds": 3}}
    result = call(FakeBackends(detector__anomalies=nothing), "detect_anomalies", {"method": "z-score"})
    assert result.structured_content["summary"]["autoFinds"] == 3
    assert "The method auto finds 3 anomalies in it." in result.content[0].text
