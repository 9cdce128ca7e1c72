"""The scorer of points says what its twin says, for ordinary and for absurd input, and what its docstring promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.detector import evaluate
from services.detector.core.signal import scorer
from services.detector.core.signal.twin import Twin
from tests.unit.detector.against_twins import against_twin

T0 = 1_760_000_000.0
HOUR, DAY = 3_600.0, 86_400.0
ABSURD = [0.0, -0.0, -1.0, 1e300, -1e300, 5e-324, 1e-310, math.inf, -math.inf, math.nan, 1.0, 1.0, 1e9]
some_value = st.one_of(st.sampled_from(ABSURD), st.floats(width=64), st.floats(-10.0, 10.0))
some_step = st.one_of(
    st.sampled_from([0.0, 1.0, 60.0, 300.0, HOUR, DAY, 400 * DAY, -60.0, -DAY, math.nan, math.inf]), st.floats(0.0, DAY)
)
points = st.lists(st.tuples(some_step, some_value), max_size=60)
steady = st.lists(st.tuples(st.just(60.0), st.sampled_from([1.0, 1.25, 1.5])), max_size=60)


def row(t_s: np.ndarray, values: np.ndarray) -> np.ndarray:
    out = np.zeros((len(values), scorer.COLUMNS))
    scorer.observe_many(t_s, values, np.zeros(scorer.SIZE), out)
    return out


def twin_row(t_s: np.ndarray, values: np.ndarray) -> np.ndarray:
    twin = Twin()
    judged = [twin.observe(float(t), float(x)) for t, x in zip(t_s, values, strict=True)]
    return np.array(judged, np.float64).reshape(len(values), scorer.COLUMNS)


def times(n: int, step_s: float) -> np.ndarray:
    return T0 + step_s * np.arange(n)


def cycle(n: int, step_s: float, seed: int = 1) -> np.ndarray:
    """A day's course with noise: 20 ± 10 ± 1."""
    noise = np.random.default_rng(seed).standard_normal(n)
    return 20.0 + 10.0 * np.sin(2 * np.pi * times(n, step_s) / DAY) + noise


def alerts(t_s: np.ndarray, values: np.ndarray) -> np.ndarray:
    return t_s[evaluate.scores(t_s, values) >= evaluate.THRESHOLD]


@against_twin(scorer.observe_many)
@given(st.one_of(points, steady))
def test_every_point_is_judged_as_the_twin_judges_it(course: list[tuple[float, float]]) -> None:
    t_s = T0 + np.cumsum(np.array([step if math.isfinite(step) else 0.0 for step, _ in course], np.float64))
    t_s[[i for i, (step, _) in enumerate(course) if not math.isfinite(step)]] = math.nan
    values = np.array([value for _, value in course], np.float64)
    out = row(t_s, values)
    assert np.isfinite(out).all()
    assert (out[:, scorer.SCORE] >= 0.0).all()
    assert ((out[:, scorer.TAIL_P] > 0.0) & (out[:, scorer.TAIL_P] <= 1.0)).all()
    np.testing.assert_allclose(out, twin_row(t_s, values), rtol=1e-9, atol=1e-12)


@against_twin(scorer.observe_many)
@given(st.lists(st.one_of(st.floats(width=64), st.sampled_from([1e300, -1e300, math.inf])), max_size=20))
def test_any_time_is_taken(when: list[float]) -> None:
    t_s = np.array(when, np.float64)
    values = np.arange(len(when), dtype=np.float64)
    out = row(t_s, values)
    assert np.isfinite(out).all()
    np.testing.assert_allclose(out, twin_row(t_s, values), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("step_s", [1.0, 60.0, 300.0, HOUR])
def test_weeks_of_a_daily_course_are_judged_as_the_twin_judges_them(step_s: float) -> None:
    n = min(4_000, int(14 * DAY / step_s))
    t_s, values = times(n, step_s), cycle(n, step_s)
    values[n // 2 : n // 2 + 20] += 25.0
    t_s[3 * n // 4 :] += 3 * DAY
    np.testing.assert_allclose(row(t_s, values), twin_row(t_s, values), rtol=1e-9, atol=1e-12)


def test_point_by_point_says_what_all_at_once_says() -> None:
    t_s, values = times(3_000, 300.0), cycle(3_000, 300.0)
    values[[5, 1_000]] = math.nan, math.inf
    out, state = row(t_s, values), np.zeros(scorer.SIZE)
    for i in range(len(values)):
        assert scorer.observe(t_s[i], values[i], state) == out[i, scorer.SCORE]
        if math.isfinite(values[i]):
            assert (state[: scorer.COLUMNS] == out[i]).all()


def in_single_precision(t_s: np.ndarray, values: np.ndarray) -> np.ndarray:
    """As `row`, of a state that is rounded between points; times since the first."""
    kept, out = np.zeros(scorer.SIZE, np.float32), np.zeros((len(values), scorer.COLUMNS))
    for i in range(len(values)):
        state = kept.astype(np.float64)
        scorer.observe(t_s[i] - t_s[0], values[i], state)
        kept[:], out[i] = state, state[: scorer.COLUMNS]
    return out


@given(st.lists(st.one_of(st.sampled_from(ABSURD), st.floats(width=64)), max_size=60))
def test_a_state_kept_in_single_precision_stays_finite(values: list[float]) -> None:
    out = in_single_precision(times(len(values), 60.0), np.array(values, np.float64))
    assert np.isfinite(out).all()


def test_a_state_kept_in_single_precision_alerts_at_the_same_points() -> None:
    t_s, values = times(4_000, 300.0), cycle(4_000, 300.0)
    values[[3_000, 3_001, 3_002, 3_600]] += 25.0
    whole, rounded = row(t_s - t_s[0], values), in_single_precision(t_s, values)
    np.testing.assert_array_equal(whole[:, scorer.SCORE] >= 1.0, rounded[:, scorer.SCORE] >= 1.0)
    np.testing.assert_allclose(rounded[:, scorer.SCORE], whole[:, scorer.SCORE], atol=0.01)
    np.testing.assert_allclose(rounded[:, scorer.EXPECTED], whole[:, scorer.EXPECTED], rtol=1e-4)


def test_scores_depend_on_nothing_that_comes_later() -> None:
    t_s, values = times(4_000, 300.0), cycle(4_000, 300.0)
    other = values.copy()
    other[2_500:] = -7.0 * other[2_500:] + 1e6
    whole = evaluate.scores(t_s, values)
    assert (evaluate.scores(t_s, other)[:2_500] == whole[:2_500]).all()
    assert (evaluate.scores(t_s[:2_500], values[:2_500]) == whole[:2_500]).all()


@pytest.mark.parametrize("factor", [1e-6, 1.0 / 1024.0, 1e6])
def test_the_unit_of_the_values_does_not_matter(factor: float) -> None:
    t_s, values = times(4_000, 300.0), cycle(4_000, 300.0)
    values[3_000:3_005] += 20.0
    np.testing.assert_allclose(
        evaluate.scores(t_s, values * factor), evaluate.scores(t_s, values), rtol=1e-3, atol=1e-3
    )


def test_neither_does_their_sign_nor_an_offset_much() -> None:
    t_s, values = times(4_000, 300.0), cycle(4_000, 300.0)
    values[3_000:3_005] += 20.0
    np.testing.assert_allclose(evaluate.scores(t_s, -values), evaluate.scores(t_s, values), rtol=1e-6, atol=1e-6)
    assert list(alerts(t_s, values + 10.0)) == list(alerts(t_s, values))


@pytest.mark.parametrize("step_s", [1.0, 60.0, 300.0, HOUR])
def test_a_spike_alerts_while_it_lasts_and_not_again_at_any_spacing(step_s: float) -> None:
    n = int(10 * DAY / step_s)
    t_s, values = times(n, step_s), cycle(n, step_s)
    at = int(8 * DAY / step_s)
    values[at : at + 3] += 40.0
    found = alerts(t_s, values)
    assert 1 <= len(found[found >= t_s[at]]) <= 2
    assert t_s[at] <= found[-1] < t_s[at + 3]


def test_a_lasting_shift_alerts_and_becomes_usual() -> None:
    t_s, values = times(40 * 288, 300.0), cycle(40 * 288, 300.0)
    values[10 * 288 :] += 40.0
    found = alerts(t_s, values)
    assert T0 + 10 * DAY <= found[found > T0 + 5 * DAY][0] < T0 + 10 * DAY + HOUR
    assert not (found > T0 + 13 * DAY).any()
    out = row(t_s, values)
    assert out[10 * 288 + 36, scorer.LEVEL] > 2.0
    assert abs(out[-1, scorer.LEVEL]) < 2.0


def test_a_day_without_its_peak_alerts_though_all_its_values_were_seen_before() -> None:
    t_s, values = times(12 * 288, 300.0), cycle(12 * 288, 300.0)
    flat = (t_s >= T0 + 10.2 * DAY) & (t_s < T0 + 11.2 * DAY)
    values[flat] = 20.0 + (values[flat] - values[flat].mean()) * 0.05
    found = alerts(t_s, values)
    assert ((found >= T0 + 10.2 * DAY) & (found < T0 + 11.3 * DAY)).any()


def test_a_constant_or_quantised_series_is_never_unusual_by_rounding() -> None:
    t_s = times(4_000, 60.0)
    assert (evaluate.scores(t_s, np.full(4_000, 0.1)) == 0.0).all()
    two = 100.0 + 0.01 * (np.arange(4_000) % 2)
    assert len(alerts(t_s, two)) == 0


def test_nothing_alerts_while_little_is_known() -> None:
    t_s, values = times(24, 60.0), np.random.default_rng(2).lognormal(0.0, 1.0, 24)
    assert (evaluate.scores(t_s, values) < evaluate.THRESHOLD).all()


def test_the_end_of_a_long_silence_alone_alerts_nothing_and_nothing_is_forgotten_soon() -> None:
    t_s, values = times(20 * 288, 300.0), cycle(20 * 288, 300.0)
    t_s[10 * 288 :] += 7 * DAY
    assert not (np.abs(alerts(t_s, values) - t_s[10 * 288]) < DAY / 2).any()
    values[15 * 288] += 40.0
    assert t_s[15 * 288] in alerts(t_s, values)


def test_ten_points_a_day_are_enough_to_tell_a_spike() -> None:
    t_s, values = times(300, 8_640.0), cycle(300, 8_640.0)
    values[250] += 40.0
    found = alerts(t_s, values)
    assert t_s[250] in found
    assert (found > t_s[100]).sum() <= 6


def test_points_that_are_not_finite_change_nothing() -> None:
    state = np.zeros(scorer.SIZE)
    assert scorer.observe(T0, math.nan, state) == 0.0
    assert not state.any()
    for t, x in zip(times(500, 60.0), cycle(500, 60.0), strict=True):
        scorer.observe(t, x, state)
    before = state.copy()
    assert scorer.observe(T0 + 1e6, math.inf, state) == 0.0
    assert scorer.observe(math.nan, 1.0, state) == 0.0
    np.testing.assert_array_equal(state, before)


def test_no_points_and_arrays_of_different_lengths() -> None:
    assert len(evaluate.scores([], [])) == 0
    with pytest.raises(ValueError, match="same length"):
        evaluate.scores([1.0], [1.0, 2.0])


def null_events(values: np.ndarray, sensitivity: str) -> int:
    """Times that the limit was passed, an hour apart, in a series a minute."""
    p = row(times(len(values), 60.0), values)[:, scorer.TAIL_P]
    at = np.flatnonzero(p <= scorer.LIMITS[sensitivity])
    return int(len(at) > 0) + int((np.diff(at) > 60).sum())


@pytest.mark.parametrize(("sensitivity", "days"), [("high", 1.0), ("medium", 7.0), ("low", 30.0)])
@pytest.mark.parametrize("process", ["lognormal", "pareto", "quantised"])
def test_limits_are_passed_at_their_rate_whatever_the_tail(process: str, sensitivity: str, days: float) -> None:
    rng = np.random.default_rng(3)
    draw = {
        "lognormal": lambda n: rng.lognormal(0.0, 1.0, n),
        "pareto": lambda n: 1.0 + rng.pareto(1.5, n),
        "quantised": lambda n: np.round(4.0 * rng.lognormal(0.0, 0.5, n)) / 4.0,
    }[process]
    events = sum(null_events(draw(90 * 1_440), sensitivity) for _ in range(4))
    assert 0.4 < events / (360.0 / days) < 2.5
