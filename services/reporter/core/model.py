"""One report as typed values: what every renderer draws from.

Names, conditions and messages are as the monitored servers gave them; each renderer escapes them for its format. Knows no
format and no service.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Final, Literal

from services.reporter.core.answers import Alert, Anomaly, ErrorGroup, Freshness, Stats
from services.reporter.core.health import Health
from services.reporter.core.incident_stories import IncidentStory
from services.reporter.core.recommendation import Recommendation
from services.reporter.core.text import Text
from services.reporter.core.trends import Trend
from shared.timespan import DAY_MS, HOUR_MS

Format = Literal["markdown", "json", "html"]
FORMATS: Final[tuple[Format, ...]] = ("markdown", "json", "html")
EXTENSIONS: Final = {"markdown": "md", "json": "json", "html": "html"}

#: Recommendations that an answer keeps however long it is.
FEWEST_TO_DO: Final = 3

_PERIODS: Final = {HOUR_MS: "hour", DAY_MS: "day", 7 * DAY_MS: "week"}


@dataclass(frozen=True, slots=True)
class Range:
    """The half-open range [start_ms, end_ms) that is reported, epoch ms UTC."""

    start_ms: int
    end_ms: int

    @property
    def span_ms(self) -> int:
        """Its length."""
        return self.end_ms - self.start_ms

    @property
    def before(self) -> Range:
        """The equally long range that ends where this one starts."""
        return Range(max(0, self.start_ms - self.span_ms), self.start_ms)

    @property
    def period(self) -> str:
        """`hour`, `day`, `week`, `month` (28 to 31 days) or `range`."""
        if 28 * DAY_MS <= self.span_ms <= 31 * DAY_MS:
            return "month"
        return _PERIODS.get(self.span_ms, "range")


@dataclass(frozen=True, slots=True)
class Source:
    """One service that was asked: whether it answered, and from what."""

    service: str
    answered: bool
    detail: str


@dataclass(frozen=True, slots=True)
class ServerRow:
    """One server: its calls, the window before if known, its health, open alerts, and calls over time if asked for."""

    stats: Stats
    before: Stats | None
    health: Health
    open_alerts: int
    timeline: tuple[Stats, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolRow:
    """One tool, and what it was in the window before if known."""

    stats: Stats
    before: Stats | None


@dataclass(frozen=True, slots=True)
class Ranked:
    """The first of a longer list: `total` is how many there are."""

    rows: tuple[ToolRow, ...] = ()
    total: int = 0


@dataclass(frozen=True, slots=True)
class AlertSection:
    """Alerts open now, and those raised or resolved in the range. None = the alerter did not answer that."""

    active: tuple[Alert, ...] | None = None
    active_total: int = 0
    raised: tuple[Alert, ...] | None = None
    resolved: tuple[Alert, ...] | None = None
    suppressed: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """One report. None = could not be had (`gaps` says why) or was not asked for; empty = there is none."""

    range: Range
    generated_ms: int
    server: str | None
    health: Health
    summary: Stats | None
    before: Stats | None
    timeline: tuple[Stats, ...] = ()
    bucket_ms: int = HOUR_MS
    servers: tuple[ServerRow, ...] | None = None
    servers_total: int = 0
    by_errors: Ranked | None = None
    by_p95: Ranked | None = None
    by_time: Ranked | None = None
    trends: tuple[Trend, ...] = ()
    anomalies: tuple[Anomaly, ...] | None = None
    anomalies_total: int = 0
    incidents: tuple[IncidentStory, ...] = ()
    alerts: AlertSection = field(default_factory=AlertSection)
    errors: tuple[ErrorGroup, ...] = ()
    recommendations: tuple[Recommendation, ...] | None = None
    gaps: tuple[Text, ...] = ()
    sources: tuple[Source, ...] = ()
    freshness: Freshness = field(default_factory=Freshness)

    @property
    def has_calls(self) -> bool:
        """Whether there is anything to report on."""
        return self.summary is not None and self.summary.count > 0


@dataclass(frozen=True, slots=True)
class Limits:
    """How many rows of each list a rendering shows; the rest is counted, never dropped in silence."""

    tools: int
    servers: int
    anomalies: int
    alerts: int
    errors: int
    recommendations: int
    incidents: int = 5
    #: Anomalies that each incident names.
    members: int = 5

    def halved(self) -> Limits:
        """Half of everything, one at least; of what to do three."""
        fewest = {"recommendations": min(self.recommendations, FEWEST_TO_DO)}
        return Limits(**{name: max(fewest.get(name, 1), number // 2) for name, number in asdict(self).items()})


#: What is written to a file.
IN_FILE: Final = Limits(tools=100, servers=200, anomalies=200, alerts=200, errors=50, recommendations=8, incidents=20)
#: What a page shows, for people.
ON_PAGE: Final = Limits(tools=15, servers=100, anomalies=50, alerts=50, errors=15, recommendations=8, incidents=8)
#: What an answer carries at most; it is halved until the answer is short enough.
IN_ANSWER: Final = Limits(
    tools=10, servers=20, anomalies=10, alerts=10, errors=5, recommendations=8, incidents=4, members=2
)
