"""The reporter's queries: ask, compose, render, write, answer.

Thin: what to ask is `core.questions`, what to make of it `core.compose` and `core.dashboard`. Every handler runs in the worker,
so that `ping` is answered while services are asked. A service that does not answer costs its part of the answer.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Mapping
from typing import Any, Final

from services.reporter.asking import Asker
from services.reporter.core.answered import Answered, sorted_out
from services.reporter.core.compose import all_tools_came, compose, failing_tools, server_names
from services.reporter.core.dashboard import Window, first_window, wider_window
from services.reporter.core.dashboard import build as build_dashboard
from services.reporter.core.model import Report
from services.reporter.core.questions import (
    Question,
    for_baseline,
    for_dashboard,
    for_report,
    for_slowest,
    for_window,
    more_for_report,
)
from services.reporter.core.reply import answer, file_text
from services.reporter.core.requests import BadRequest, ReportRequest, parse_dashboard, parse_report
from services.reporter.core.text import visible
from services.reporter.error_messages import read_messages
from services.reporter.report_files import ReportFiles, digest
from shared.names import near
from shared.rpc import Refusal
from shared.runtime.service import Service, now_ms

#: All questions of a report, and of a dashboard, are answered in this time or given up: an answer comes within 2 s.
REPORT_BUDGET_S: Final = 1.5
DASHBOARD_BUDGET_S: Final = 1.2
#: Part of the report's time that is kept for the second round of questions.
SECOND_ROUND_S: Final = 0.3
#: How long the day before and the list of series are taken as they were.
BASELINE_FOR_S: Final = 300.0
#: Baselines kept: one for all servers and a few that are looked at alone.
MAX_BASELINES: Final = 16
#: Tools whose error messages are read for a report.
TOOLS_WITH_MESSAGES: Final = 5


class Reporter:
    """The queries of one reporter."""

    def __init__(self, service: Service) -> None:
        self.reports_total = 0
        self.dashboards_total = 0
        self.unwritten_total = 0
        self._service = service
        self._asker = Asker(service.data)
        self._files = ReportFiles(service.data)
        self._baselines: dict[str | None, tuple[float, Answered]] = {}

    def register(self) -> None:
        """Answer `report`, `dashboard` and `latest`."""
        rpc, stats = self._service.rpc, self._service.stats
        rpc.register("report", self.report, slow=True)
        rpc.register("dashboard", self.dashboard, slow=True)
        rpc.register("latest", self.latest, slow=True)
        stats.update(
            reports_total=lambda: self.reports_total,
            dashboards_total=lambda: self.dashboards_total,
            unwritten_total=lambda: self.unwritten_total,
            asked_total=lambda: self._asker.asked_total,
            unanswered_total=lambda: self._asker.unanswered_total,
        )
        self._service.on_stop(self._asker.close)

    def report(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Make, write and answer a report.

        Raises: Refusal.
        """
        try:
            wanted = parse_report(params)
        except BadRequest as error:
            raise Refusal("bad_request", str(error)) from error
        made = self._compose(wanted)
        text = file_text(made, wanted.format)
        path, identity = self._write(text, wanted, made)
        found = answer(made, wanted.format, path, identity)
        self.reports_total += 1
        if path is not None:
            self._remember(found)
        return found

    def dashboard(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """How things stand now.

        Raises: Refusal.
        """
        try:
            wanted = parse_dashboard(params)
        except BadRequest as error:
            raise Refusal("bad_request", str(error)) from error
        deadline_s = time.monotonic() + DASHBOARD_BUDGET_S
        now, server = now_ms(), wanted.server
        shown = first_window(now)
        answered = self._baseline(shown, server, for_dashboard(shown.span, now, server, wanted.after_seq), deadline_s)
        _known(answered, server)
        while (wider := wider_window(shown, answered, now, server)) is not None:
            shown = wider
            questions = for_window(shown.span, server) | _without_series(for_baseline(shown.span, server))
            answered = answered | self._ask(questions, deadline_s)
        if not all_tools_came(answered):
            answered = answered | self._ask(for_slowest(shown.span, server), deadline_s)
        self.dashboards_total += 1
        return build_dashboard(answered, shown, now, server, wanted.limit)

    def latest(self, _: Mapping[str, Any]) -> dict[str, Any]:
        """The last report that was written, as it was answered."""
        return self._files.latest() or {"path": None, "report": None}

    def _compose(self, wanted: ReportRequest) -> Report:
        deadline_s = time.monotonic() + REPORT_BUDGET_S
        span, server = wanted.range, wanted.server
        answered = self._ask(for_report(span, server, wanted.after_seq), deadline_s - SECOND_ROUND_S)
        _known(answered, server)
        if answered.rollup("servers") is not None:
            more = more_for_report(span, server, server_names(answered), all_tools_came(answered))
            answered = answered | self._ask(more, deadline_s)
        errors = read_messages(self._service.data, span, failing_tools(answered, TOOLS_WITH_MESSAGES))
        return compose(
            answered,
            span,
            now_ms(),
            server=server,
            errors=errors,
            include_recommendations=wanted.include_recommendations,
        )

    def _ask(self, questions: Mapping[str, Question], deadline_s: float) -> Answered:
        return sorted_out(self._asker.ask(questions, deadline_s))

    def _baseline(
        self, window: Window, server: str | None, questions: dict[str, Question], deadline_s: float
    ) -> Answered:
        """The answers, with the day before from memory when it is fresh enough; an empty day is asked for again."""
        asked_s, known = self._baselines.get(server, (0.0, None))
        if known is not None and time.monotonic() - asked_s < BASELINE_FOR_S:
            return known | self._ask(questions, deadline_s)
        baseline = for_baseline(window.span, server)
        answered = self._ask(questions | baseline, deadline_s)
        before = answered.rollup("servers_before")
        if before is not None and before.rows and not answered.failures.keys() & baseline.keys():
            while len(self._baselines) >= MAX_BASELINES:
                self._baselines.pop(next(iter(self._baselines)))
            self._baselines[server] = (time.monotonic(), answered.only(baseline))
        return answered

    def _write(self, text: str, wanted: ReportRequest, made: Report) -> tuple[str | None, dict[str, Any]]:
        try:
            return self._files.write(text, wanted.format, wanted.range, made.generated_ms)
        except OSError as error:
            self.unwritten_total += 1
            reason = errno.errorcode.get(error.errno or 0, "OSError")
            self._service.log.error("report_not_written", reason=reason)  # noqa: TRY400 - the reason says it all
            if wanted.format == "html":
                text = f"the report could not be written ({reason}); ask for markdown, which comes inline"
                raise Refusal("not_written", text, reason=reason) from error
            return None, digest(text.encode("utf-8", "backslashreplace"))

    def _remember(self, found: Mapping[str, Any]) -> None:
        try:
            self._files.remember(found)
        except OSError:
            self._service.log.warning("latest_not_remembered")


def build(service: Service) -> None:
    """Set up the reporter's queries; it is ready at once, for it holds nothing."""
    Reporter(service).register()
    service.serve()
    service.ready = True
    service.log.info("ready")


def _known(answered: Answered, server: str | None) -> None:
    """Raises: Refusal for a server that nobody has heard of, with the nearest names."""
    known = sorted({name for name, _ in answered.series.last_ms})
    if server is None or not known or server in known:
        return
    servers = answered.rollup("servers")
    if servers is not None and any(row.server == server for row in servers.rows):
        return
    close = [visible(name) for name in near(server, known)]
    raise Refusal("unknown_server", f'no metric of a server named "{visible(server)}"', nearest=close)


def _without_series(questions: dict[str, Question]) -> dict[str, Question]:
    return {name: question for name, question in questions.items() if name != "series"}
