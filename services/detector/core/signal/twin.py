"""What the scorer says, in plain Python with named parts: slower, obvious, and the measure `scorer` is tested by.

It shares the scorer's constants, not its arithmetic; a `Twin` is one series. What each part is for, `scorer` says.
"""

# ruff: noqa: SLF001 - the constants are the scorer's own, and a measure of it has to go by them
from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from services.detector.core.signal import limits
from services.detector.core.signal import scorer as s


class Judged(NamedTuple):
    """A point's row, in the order of `scorer`'s first places."""

    score: float
    tail_p: float
    expected: float
    lower: float
    upper: float
    part: int
    level: float


_NOTHING = Judged(0.0, 0.0, 0.0, 0.0, 0.0, 0, 0.0)


class Told(NamedTuple):
    """What a part says of a point, 0 … 1; where that is nothing, how close it came to saying something."""

    said: float
    close: float = 0.0


class Shares(NamedTuple):
    """What a step is of the long means, of how often a part answers, and what it leaves of a record."""

    usual: float
    often: float
    record: float


@dataclass
class Stream:
    """Mean and variance of a stream, and how often its part answers."""

    mean: float = 0.0
    variance: float = 0.0
    often: float = 0.0

    def scale(self, floor: float) -> float:
        return math.sqrt(self.variance) + floor

    def learn(self, away: float, share: float) -> None:
        self.mean += share * away
        self.variance = (1.0 - share) * (self.variance + share * away * away)

    def weighed(self, said: float, budget: float, share: float) -> float:
        """`said` is worth less of a part that says much in this series."""
        worth = said * (budget / (budget + self.often))
        self.often += share * (said - self.often)
        return worth


@dataclass
class Record(Stream):
    """Of how far beyond the highest and lowest values, fading, a stream is."""

    high: float = 0.0
    low: float = 0.0

    def ask(self, x: float, floor: float, shares: Shares) -> Told:
        away, scale = x - self.mean, self.scale(floor)
        beyond = max(x - self.high, self.low - x)
        excess = max(beyond, 0.0) / (s._OF_WIDTH * (self.high - self.low) + scale)
        room = self.high - self.mean if away > 0.0 else self.mean - self.low
        close = 0.0 if beyond > 0.0 else abs(away) / (room + floor)
        told = Told(self.weighed(excess / (excess + 1.0), s._RECORD_BUDGET, shares.often), close)
        self.high = max(x, self.mean + (self.high - self.mean) * shares.record)
        self.low = min(x, self.mean + (self.low - self.mean) * shares.record)
        self.learn(away, shares.usual)
        return told


@dataclass
class Distance(Stream):
    """Of how many deviations a stream is off its mean."""

    def ask(self, x: float, floor: float, shares: Shares, count: float) -> Told:
        away, scale = x - self.mean, self.scale(floor)
        further = max(abs(away) - s._FAR * scale, 0.0)
        close = 0.0 if further > 0.0 else abs(away) / (s._FAR * scale)
        told = Told(self.weighed(further / (further + s._FAR * scale), s._FAR_BUDGET, shares.often), close)
        most = s._CLIP * scale if count > s._UNCLIPPED else math.inf
        self.learn(min(max(away, -most), most), shares.usual)
        return told


@dataclass
class HourOfDay:
    """Mean of an hour of the day, the mean distance of values from it, and the number of points."""

    mean: float = 0.0
    off: float = 0.0
    count: float = 0.0


@dataclass
class Limit:
    """Of one sensitivity: how far the logarithm of the closeness that alarms is above that of the more sensitive one, of the most
    sensitive that logarithm; moved so that it is passed at its rate.
    """

    rate: float
    gain: float
    value: float
    least: float
    passed_s: float = -math.inf

    def move(self, passed: bool, t_s: float, looks: float) -> None:
        if not passed:
            self.value = max(self.value - self.gain * self.rate * looks, self.least)
            return
        if t_s - self.passed_s >= limits._APART_S:
            self.value = min(self.value + self.gain, limits._MOST_LIMIT)
        self.passed_s = t_s


def _limits() -> list[Limit]:
    return [
        Limit(*each)
        for each in zip(limits._RATES, limits._GAIN, limits._FIRST_LIMITS, limits._LEAST_LIMIT, strict=True)
    ]


@dataclass
class Twin:
    """One series; `observe` takes its points in turn."""

    count: float = 0.0
    first_s: float = 0.0
    last_s: float = 0.0
    pace_s: float = 0.0
    #: The step and pace for which shares were reckoned last; the pace has to change much before they are reckoned anew.
    reckoned: tuple[float, float] = (0.0, 0.0)
    three: list[float] = field(default_factory=list)
    fast: float = 0.0
    off: float = 0.0
    range: Record = field(default_factory=Record)
    shift: Record = field(default_factory=Record)
    season: Record = field(default_factory=Record)
    hour: Distance = field(default_factory=Distance)
    jump: Distance = field(default_factory=Distance)
    hours: list[HourOfDay] = field(default_factory=lambda: [HourOfDay() for _ in range(24)])
    holds: list[float] = field(default_factory=lambda: [0.0, 0.0])
    limits: list[Limit] = field(default_factory=_limits)
    latest: Judged = _NOTHING

    def observe(self, t_s: float, value: float) -> Judged:
        """Take a point; what is said of it."""
        if not (math.isfinite(t_s) and math.isfinite(value)):
            return self.latest._replace(score=0.0, tail_p=1.0)
        t_s = min(max(t_s, -s._ENDLESS_S), s._ENDLESS_S)
        value = min(max(value, -s._HUGE), s._HUGE)
        self.latest = self._next(t_s, value) if self.count else self._first(t_s, value)
        return self.latest

    def _first(self, t_s: float, value: float) -> Judged:
        self.count = 1.0
        self.first_s = self.last_s = t_s
        self.three, self.fast = [value] * 3, value
        for record in (self.range, self.shift):
            record.mean = record.high = record.low = value
        self.hours[_hour(t_s)] = HourOfDay(value, 0.0, 1.0)
        return Judged(0.0, 1.0, value, value, value, 0, 0.0)

    def _next(self, t_s: float, value: float) -> Judged:
        step_s = self._step(t_s)
        usual, scale, floor = self.range.mean, self.range.scale(self._floor()), self._floor()
        hour = self.hours[_hour(t_s)]
        known = hour.count > 0.0
        by_hour = known and self._age_s() >= s._DAY_S and self.season.variance < self.shift.variance
        expected = hour.mean if by_hour else usual
        bands = [(self.range.low, self.range.high), (self.shift.low, self.shift.high)]
        told = self._ask(value, hour, step_s, floor)
        damping = self._damping()
        strengths = [damping * sum(each.said for each in told[:3]), damping * sum(each.said for each in told[3:])]
        strength, most = sum(strengths), max(range(len(told)), key=lambda k: told[k].said)
        closeness = 1.0 + strength / s._CLOSE if strength else max(each.close for each in told)
        part = most if told[most].said > 0.0 else self.latest.part
        tail_p = self._tail_p(closeness, t_s, min(1.0, step_s / limits._LOOK_S))
        return Judged(
            self._debounced(strengths, step_s) * min(1.0, closeness * math.exp(-self.limits[-1].value)),
            tail_p,
            expected,
            *bands[1 if told[most].said > 0.0 and most == 1 else 0],
            part,
            (self.fast - usual) / scale,
        )

    def _step(self, t_s: float) -> float:
        """Count the point; time since the latest one."""
        step_s = max(t_s - self.last_s, 0.0)
        self.last_s, self.count = max(self.last_s, t_s), min(self.count + 1.0, s._CAP_COUNT)
        told_s = min(step_s, s._PACE_CLIP * self.pace_s) if self.count > s._PACE_FROM else step_s
        self.pace_s += max(1.0 / (self.count - 1.0), s._PACE_SHARE) * (told_s - self.pace_s)
        if step_s != self.reckoned[0] or abs(self.pace_s - self.reckoned[1]) > s._PACE_CHANGE * self.reckoned[1]:
            self.reckoned = step_s, self.pace_s
        return step_s

    def _stretch(self) -> float:
        return max(1.0, self.reckoned[1] / s._DENSE_S)

    def _age_s(self) -> float:
        return (self.last_s - self.first_s) / self._stretch()

    def _shares(self, step_s: float) -> Shares:
        usual = min(1.0 - math.exp(-step_s / (s._USUAL_S * self._stretch())), s._USUAL_SHARE)
        often = min(1.0 - math.exp(-step_s / (s._OFTEN_S * self._stretch())), s._OFTEN_SHARE)
        record = math.exp(-min(step_s, s._SILENT_S) / (s._RECORD_S * self._stretch()))
        return Shares(max(usual, 1.0 / self.count), max(often, 1.0 / (self.count + s._OFTEN_FROM)), record)

    def _floor(self) -> float:
        deviation = math.sqrt(self.range.variance)
        return s._FLOOR_OF_MEAN * abs(self.range.mean) + s._FLOOR_OF_DEVIATION * deviation + s._FLOOR

    def _ask(self, value: float, hour: HourOfDay, step_s: float, floor: float) -> list[Told]:
        """What the parts say, in the order of PARTS; all is learned."""
        shares, before = self._shares(step_s), sorted(self.three)[1]
        self.three = [value, *self.three[:2]]
        middle = sorted(self.three)[1]
        fast_s = max(s._FAST_S, s._FAST_POINTS * self.reckoned[1])
        share = max(min(1.0 - math.exp(-step_s / fast_s), s._FAST_SHARE), 1.0 / self.count)
        self.fast += share * (value - self.fast)
        known = hour.count > 0.0
        season, off = (self.fast - hour.mean, middle - hour.mean) if known else (0.0, 0.0)
        usual_off = hour.off + s._OF_ALL_HOURS * self.off + s._FLOOR_OF_MEAN * abs(self.range.mean) + s._FLOOR
        off_by = min(max(off / usual_off, -s._MOST_OFF), s._MOST_OFF) if known else 0.0
        self._learn_hour(hour, off, step_s, shares)
        return [
            self.range.ask(value, floor, shares),
            self.shift.ask(self.fast, floor, shares),
            self.season.ask(season, floor, shares),
            self.hour.ask(off_by, s._FLOOR_OF_HOUR, shares, self.count),
            self.jump.ask(abs(middle - before), floor, shares, self.count),
        ]

    def _learn_hour(self, hour: HourOfDay, off: float, step_s: float, shares: Shares) -> None:
        most = s._OFF_CLIP * (self.off + s._FLOOR) if self.count > s._OFF_UNCLIPPED else math.inf
        distance = min(abs(off), most)
        self.off += shares.usual * (distance - self.off)
        hour.count = min(hour.count + 1.0, s._CAP_COUNT)
        share = max(min(1.0 - math.exp(-step_s / s._OF_HOUR_S), s._HOUR_SHARE), 1.0 / hour.count)
        hour.off += share * (distance - hour.off)
        hour.mean += share * (self.fast - hour.mean)

    def _damping(self) -> float:
        if self._age_s() >= s._OLD * s._YOUNG_S and self.count >= s._OLD * s._YOUNG_POINTS:
            return 1.0
        return (1.0 - math.exp(-self._age_s() / s._YOUNG_S)) * (1.0 - math.exp(-self.count / s._YOUNG_POINTS))

    def _debounced(self, strengths: list[float], step_s: float) -> float:
        """The strengths that are beyond what is left of the strongest before."""
        left = [hold * math.exp(-step_s / s._HOLD_S) for hold in self.holds]
        self.holds = [max(each) for each in zip(strengths, left, strict=True)]
        return sum(now / s._ALERT for now, hold in zip(strengths, left, strict=True) if now > hold)

    def _tail_p(self, closeness: float, t_s: float, looks: float) -> float:
        """Compare with the limits, from the most sensitive on, and move them."""
        distance = math.log(max(closeness, 1e-3))
        below, chance, p, reached = limits._UNUSUAL_ENOUGH, 1.0, 0.0, 0.0
        for limit in reversed(self.limits):
            reached += limit.value
            if not p and distance < reached:
                p = chance * (limit.rate / chance) ** max(0.0, (distance - below) / (reached - below))
            limit.move(distance >= reached, t_s, looks)
            below, chance = reached, limit.rate
        if not p:
            p = chance * math.exp(-2.0 * (distance - below))
        return min(max(p, 1e-12), 1.0)


def _hour(t_s: float) -> int:
    return math.floor(t_s / s._HOUR_S) % 24
