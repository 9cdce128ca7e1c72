"""The benchmark's score against its definition written out row by row, and the folder reader against what users give it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.detection.nab import folds, held_out, looks_ahead
from bench.detection.nab_files import BadFolder, Labels, read_folder
from bench.detection.nab_score import PROFILES, Corpus, Profile, labelled

STAMPS = np.arange("2024-01-01T00:00", "2024-01-05T00:00", 60, dtype="datetime64[m]").astype("datetime64[us]")
N = len(STAMPS)
WINDOWS = [(30, 38), (60, 63)]


def file_of(windows: list[tuple[int, int]], values: NDArray[np.float64], name: str = "a/one.csv") -> Labels:
    bounds = [(STAMPS[first], STAMPS[last]) for first, last in windows]
    return Labels(name, STAMPS, STAMPS.astype(np.int64) / 1e6, values, bounds)


def corpus_of(*windows: list[tuple[int, int]]) -> Corpus:
    return Corpus([labelled(STAMPS, [(STAMPS[a], STAMPS[b]) for a, b in of]) for of in windows])


def by_definition(
    scores: NDArray[np.float64], windows: list[tuple[int, int]], profile: Profile, threshold: float
) -> float:
    """One file's sum: the paper's words as a loop."""

    def sigmoid(y: float) -> float:
        return -1.0 if y > 3.0 else 2.0 / (1.0 + math.exp(5.0 * y)) - 1.0

    total = 0.0
    seen = set()
    for row in range(int(0.15 * min(len(scores), 5000)), len(scores)):
        if scores[row] < threshold:
            continue
        inside = [w for w in windows if w[0] <= row <= w[1]]
        before = [w for w in windows if w[1] < row]
        if inside and inside[0] not in seen:
            first, last = inside[0]
            seen.add(inside[0])
            total += profile.hit * sigmoid(-(last - row + 1) / (last - first + 1)) / sigmoid(-1.0)
        elif not inside and before:
            first, last = before[-1]
            total += profile.false * sigmoid((row - last) / (last - first))
        elif not inside:
            total -= profile.false
    return total - profile.missed * (len(windows) - len(seen))


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0]), min_size=N, max_size=N))
@settings(max_examples=30, deadline=None)
def test_the_sum_is_that_of_the_definition_at_every_threshold(profile: Profile, drawn: list[float]) -> None:
    scores, corpus = np.array(drawn), corpus_of(WINDOWS)
    flat = corpus.flat([scores])
    sums = {th: by_definition(scores, WINDOWS, profile, th) for th in (0.0, 0.5, 1.0, 1.5, 2.0, math.inf)}
    for threshold, expected in sums.items():
        assert corpus.total(flat, profile, threshold) == pytest.approx(expected, abs=1e-9)
    best = corpus.best(flat, profile)
    assert best.score == pytest.approx(corpus.normalised(max(sums.values()), profile), abs=1e-9)
    assert corpus.score(flat, profile, best.threshold) == pytest.approx(best.score, abs=1e-9)


def test_silence_is_0_and_a_detection_at_every_windows_start_is_100() -> None:
    corpus = corpus_of(WINDOWS, [])
    perfect = np.zeros(N)
    perfect[[30, 60]] = 1.0
    flat = corpus.flat([perfect, np.zeros(N)])
    for profile in PROFILES.values():
        assert corpus.score(flat, profile, 1.0) == pytest.approx(100.0)
        assert corpus.score(flat, profile, 2.0) == 0.0
        assert corpus.best(flat, profile) == (1.0, pytest.approx(100.0))


def test_nothing_counts_in_the_first_15_percent() -> None:
    corpus = corpus_of(WINDOWS)
    scores = np.zeros(N)
    scores[: int(0.15 * N)] = 9.0
    assert corpus.score(corpus.flat([scores]), PROFILES["standard"], 1.0) == 0.0


def test_a_window_that_meets_no_row_is_refused() -> None:
    with pytest.raises(ValueError, match="begins or ends at no row"):
        labelled(STAMPS, [(STAMPS[3] + np.timedelta64(1, "s"), STAMPS[5])])


def test_held_out_scores_use_thresholds_of_other_files() -> None:
    corpus = corpus_of(WINDOWS, WINDOWS)
    small, large = np.zeros(N), np.zeros(N)
    small[30], large[30] = 1.0, 5.0
    flat = corpus.flat([small, large])
    parts = [np.array([True, False]), np.array([False, True])]
    # Large's threshold of 5 finds nothing in small; small's of 1 finds one of large's two windows.
    assert held_out(corpus, flat, PROFILES["standard"], parts) == pytest.approx(25.0)
    assert corpus.best(flat, PROFILES["standard"]).score == pytest.approx(50.0)


def test_every_file_is_in_one_fold() -> None:
    files = [file_of([], np.zeros(N), f"a/{i}.csv") for i in range(12)]
    assert np.sum(folds(files), axis=0).tolist() == [1] * 12


def test_a_scorer_that_looks_ahead_is_caught_and_one_that_does_not_is_not() -> None:
    file = file_of([], np.arange(N, dtype=float))
    assert looks_ahead(lambda _, v: v / np.max(v), [file]) == ["a/one.csv"]
    assert looks_ahead(lambda _, v: np.maximum.accumulate(v), [file]) == []


def test_a_folder_is_read_as_the_benchmark_lays_it_out(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "data/family").mkdir(parents=True)
    window = ["2024-01-01 00:05:00.000000", "2024-01-01 00:10:00.000000"]
    (tmp_path / "labels/combined_windows.json").write_text(json.dumps({"family/x.csv": [window]}))
    rows = [f"2024-01-01 00:{minute:02}:00,{minute}.5" for minute in range(0, 60, 5)]
    (tmp_path / "data/family/x.csv").write_text("\n".join(["timestamp,value", *rows]) + "\n")
    (file,) = read_folder(tmp_path)
    assert (file.name, file.family) == ("family/x.csv", "family")
    assert np.diff(file.t).tolist() == [300.0] * 11
    assert file.values[-1] == 55.5
    assert labelled(file.stamps, file.windows).window.tolist() == [0, 0, *[-1] * 9]


@pytest.mark.parametrize("labels", [None, "{}", "[]", '{"family/none.csv": []}', "{"])
def test_another_folder_is_refused_by_name(tmp_path: Path, labels: str | None) -> None:
    if labels is not None:
        (tmp_path / "labels").mkdir()
        (tmp_path / "labels/combined_windows.json").write_text(labels)
    with pytest.raises(BadFolder, match="combined_windows"):
        read_folder(tmp_path)
