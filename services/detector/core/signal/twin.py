"""What the scorer says, in plain Python with named parts: slower, obvious, and the measure `scorer` is tested by.

It shares the scorer's constants, not its arithmetic; a `Twin` is one series. What each stream is for, `scorer` says.
"""

# ruff: noqa: SLF001 - the constants are the scorer's own, and a measure of it has to go by them
from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

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


@dataclass
class Answer:
    """What a stream says about a point in answer to one of the two questions, and how often it does: 0 … 1."""

    often: float = 0.0

    def weighed(self, said: float, share: float) -> float:
        """`said`, 0 … 1, is worth less of a stream that says much in this series."""
        worth = said * (s._BUDGET / (s._BUDGET + self.often))
        self.often += share * (said - self.often)
        return worth


@dataclass
class Stream:
    """Mean, variance and fading record of one stream."""

    mean: float = 0.0
    variance: float = 0.0
    high: float = 0.0
    low: float = 0.0
    beyond: Answer = field(default_factory=Answer)
    far: Answer = field(default_factory=Answer)

    def within(self, x: float) -> bool:
        return self.low <= x <= self.high

    def scale(self, floor: float) -> float:
        return math.sqrt(self.variance) + floor

    def how_far_beyond(self, x: float, floor: float) -> float:
        """The excess over the record, in shares of its width and of the deviation: 0 within … 1."""
        excess = max(x - self.high, self.low - x, 0.0)
        excess /= s._OF_WIDTH * (self.high - self.low) + s._OF_DEVIATION * self.scale(floor)
        return excess / (excess + 1.0)

    def how_far_off(self, x: float, floor: float) -> float:
        """The deviations off the mean over those that say nothing: 0 … 1."""
        further = max(abs(x - self.mean) - s._FAR * self.scale(floor), 0.0)
        return further / (further + s._FAR_HALF * self.scale(floor))

    def closeness(self, x: float, floor: float) -> float:
        """How much of the way from the mean to the record `x`, which is within, has gone."""
        room = self.high - self.mean if x > self.mean else self.mean - self.low
        return abs(x - self.mean) / (room + floor)

    def learn(self, x: float, share: float, fading: float, most: float) -> None:
        """`most`: off the mean, of what mean and variance learn."""
        away = min(max(x - self.mean, -most), most)
        self.mean += share * away
        self.variance = (1.0 - share) * (self.variance + share * away * away)
        self.high = max(x, self.mean + (self.high - self.mean) * fading)
        self.low = min(x, self.mean + (self.low - self.mean) * fading)


@dataclass
class Limit:
    """Of one sensitivity: the logarithm of the closeness that alarms, moved so that it is passed at its rate."""

    rate: float
    gain: float
    value: float
    passed_s: float = -math.inf

    def move(self, passed: bool, reached: float, t_s: float, looks: float) -> None:
        """`reached`: the limit compared with, which is at least the more sensitive one's."""
        if not passed:
            self.value = max(self.value - self.gain * self.rate * looks, s._LEAST_LIMIT)
            return
        if t_s - self.passed_s >= s._APART_S:
            self.value = min(reached + self.gain, s._MOST_LIMIT)
        self.passed_s = t_s


def _limits() -> list[Limit]:
    return [Limit(*each) for each in zip(s._RATES, s._GAIN, s._FIRST_LIMITS, strict=True)]


@dataclass
class Twin:
    """One series; `observe` takes its points in turn."""

    count: float = 0.0
    first_s: float = 0.0
    last_s: float = 0.0
    previous: float = 0.0
    fast: float = 0.0
    slow: float = 0.0
    squares: float = 0.0
    hold: float = 0.0
    streams: list[Stream] = field(default_factory=lambda: [Stream() for _ in s.PARTS])
    hour_mean: list[float] = field(default_factory=lambda: [0.0] * 24)
    hour_count: list[float] = field(default_factory=lambda: [0.0] * 24)
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
        self.previous = self.fast = self.slow = value
        for stream in self.streams[:3]:
            stream.mean = stream.high = stream.low = value
        self.hour_mean[_hour(t_s)], self.hour_count[_hour(t_s)] = value, 1.0
        return Judged(0.0, 1.0, value, value, value, 0, 0.0)

    def _next(self, t_s: float, value: float) -> Judged:
        step_s = max(t_s - self.last_s, 0.0)
        self.last_s = max(self.last_s, t_s)
        self.count = min(self.count + 1.0, s._CAP_COUNT)
        hour = _hour(t_s)
        of_hour = self.hour_mean[hour]
        known = dict(self._streams(hour, value, step_s))
        floor, scale, usual = self._floor(), self.streams[0].scale(self._floor()), self.streams[0].mean
        by_hour = s._SEASON in known and self.streams[s._SEASON].variance < self.streams[1].variance
        near = [self.streams[k].closeness(x, floor) for k, x in known.items() if self.streams[k].within(x)]
        bands = [(stream.low, stream.high) for stream in self.streams]
        parts = {k: self._part(k, x, floor, step_s) for k, x in known.items()}
        for k, x in known.items():
            self._learn(self.streams[k], x, floor, step_s)
        strength, most = sum(parts.values()), max(parts, key=lambda k: parts[k])
        told = strength > 0.0
        closeness = 1.0 + strength / s._CLOSE if told else max(near, default=0.0)
        return Judged(
            self._debounced(strength, step_s),
            self._tail_p(closeness, t_s, min(1.0, step_s / s._LOOK_S)),
            of_hour if by_hour else usual,
            *bands[most if told and most <= s._LEVELLED else 0],
            most if told else self.latest.part,
            (self.fast - usual) / scale,
        )

    def _share(self, step_s: float, time_s: float, most: float = 1.0) -> float:
        """Of the new in a mean over `time_s`, while there are few points the plain mean's."""
        return max(min(1.0 - math.exp(-step_s / time_s), most), 1.0 / self.count)

    def _floor(self) -> float:
        value = self.streams[0]
        return s._FLOOR_OF_MEAN * abs(value.mean) + s._FLOOR_OF_DEVIATION * math.sqrt(value.variance) + s._FLOOR

    def _streams(self, hour: int, value: float, step_s: float) -> Iterator[tuple[int, float]]:
        """The streams' values now, in the order of PARTS; what the streams are made of is learned."""
        share, away = self._share(step_s, s._FAST_S, s._FAST_SHARE), value - self.fast
        self.fast += share * away
        self.squares = (1.0 - share) * (self.squares + share * away * away)
        self.slow += self._share(step_s, s._SLOW_S, s._SLOW_SHARE) * (value - self.slow)
        jump, self.previous = abs(value - self.previous), value
        off, seen = self.fast - self.hour_mean[hour], self.hour_count[hour] + 1.0
        self.hour_count[hour] = min(seen, s._CAP_COUNT)
        self.hour_mean[hour] += max(min(1.0 - math.exp(-step_s / s._OF_HOUR_S), s._HOUR_SHARE), 1.0 / seen) * off
        yield from enumerate((value, self.fast, self.slow, math.sqrt(self.squares), jump))
        if self.last_s - self.first_s >= s._DAY_S and seen > 1.0:
            yield s._SEASON, off

    def _part(self, k: int, x: float, floor: float, step_s: float) -> float:
        """What stream `k` says of its value `x` on both questions, damped while little is known."""
        stream = self.streams[k]
        share = max(min(1.0 - math.exp(-step_s / s._OFTEN_S), s._OFTEN_SHARE), 1.0 / (self.count + s._OFTEN_FROM))
        part = stream.beyond.weighed(stream.how_far_beyond(x, floor), share)
        if s.PARTS[k] in ("shift", "volatility", "season"):
            part += stream.far.weighed(stream.how_far_off(x, floor), share)
        return part * self._damping(k)

    def _damping(self, k: int) -> float:
        age_s, damping = self.last_s - self.first_s, 1.0
        if age_s < s._OLD_S or self.count < s._OLD_POINTS:
            damping = (1.0 - math.exp(-age_s / s._YOUNG_S)) * (1.0 - math.exp(-self.count / s._YOUNG_POINTS))
        return damping * min(1.0, (age_s - s._DAY_S) / s._DAY_S) if k == s._SEASON else damping

    def _learn(self, stream: Stream, x: float, floor: float, step_s: float) -> None:
        most = s._CLIP * stream.scale(floor) if self.count > s._UNCLIPPED else math.inf
        fading = math.exp(-min(step_s, s._SILENT_S) / s._RECORD_S)
        stream.learn(x, self._share(step_s, s._USUAL_S, s._USUAL_SHARE), fading, most)

    def _debounced(self, strength: float, step_s: float) -> float:
        hold = self.hold * math.exp(-step_s / s._HOLD_S)
        self.hold = max(strength, hold)
        return strength / s._ALERT if strength > hold else 0.0

    def _tail_p(self, closeness: float, t_s: float, looks: float) -> float:
        """Compare with the limits, from the most sensitive on, and move them."""
        distance = math.log(max(closeness, 1e-3))
        below, chance, p = s._UNUSUAL_ENOUGH, 1.0, 0.0
        for limit in reversed(self.limits):
            most_sensitive = limit is self.limits[-1]
            reached = limit.value if most_sensitive else max(limit.value, below + 0.02)
            if not p and distance < reached:
                way = (distance - below) / (reached - below)
                p = chance * (limit.rate / chance) ** (max(0.0, way) if most_sensitive else way)
            limit.move(distance >= reached, reached, t_s, looks)
            below, chance = reached, limit.rate
        if not p:
            p = chance * math.exp(-2.0 * (distance - below))
        return min(max(p, 1e-12), 1.0)


def _hour(t_s: float) -> int:
    return math.floor(t_s / s._HOUR_S) % 24
