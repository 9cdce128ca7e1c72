"""get_dashboard: everything at a glance, within a default answer's size. Pure."""

from __future__ import annotations

import json
from typing import Any, Final

from services.gateway.core.arguments import GetDashboard
from services.gateway.core.shaping import COMPACT_TEXT_CHARS, Answer, Data, fit, harmless, printed, table

#: Characters of JSON that each list of the dashboard may take; together with the rest a default answer.
SERVERS_CHARS: Final = 1_500
LIST_CHARS: Final = 500
TABLE_CHARS: Final = 1_000
#: Characters of a map beside the lists, above which it is left out.
MAP_CHARS: Final = 600

_LISTS: Final = ("worstTools", "activeAlerts", "recentAnomalies")


def dashboard_request(arguments: GetDashboard) -> Data:
    """The parameters of the reporter's `dashboard`."""
    return {} if arguments.mcp_server is None else {"mcpServer": arguments.mcp_server}


def dashboard_answer(arguments: GetDashboard, reply: Data, timestamp: str) -> Answer:
    """The dashboard with its lists cut to size, worst first as the reporter ranked them."""
    data: Data = {"timestamp": str(reply.get("timestamp") or timestamp), "refreshInterval": arguments.refresh_interval}
    cut: dict[str, int] = {}
    for name, value in reply.items():
        if name in {"timestamp", "refreshInterval"}:
            continue
        shaped = harmless(value, COMPACT_TEXT_CHARS)
        if isinstance(value, list | tuple):
            fitted = fit(shaped, SERVERS_CHARS if name == "mcpServers" else LIST_CHARS)
            shaped = fitted.rows
            if fitted.cut:
                cut[name] = fitted.cut
        elif isinstance(shaped, dict) and len(json.dumps(shaped, ensure_ascii=False)) > MAP_CHARS:
            shaped = {key: item for key, item in shaped.items() if not isinstance(item, dict | list)}
        data[name] = shaped
    for name in ("mcpServers", *_LISTS):
        data.setdefault(name, [])
    data.setdefault("systemHealth", None)
    data["cut"] = cut
    return Answer(_text(data), data)


def _text(data: Data) -> str:
    parts = [_headline(data)]
    if data["mcpServers"]:
        rows = [_server(one) for one in data["mcpServers"] if isinstance(one, dict)]
        parts.append(table(["status", "score", "calls", "p95 ms", "err %", "alerts", "server"], rows, TABLE_CHARS))
    counted = ((name, data[name], data["cut"].get(name, 0)) for name in _LISTS)
    parts.extend(f"{name}: {_lines(rows, cut)}" for name, rows, cut in counted if rows)
    next_step = data.get("nextStep")
    if isinstance(next_step, str) and next_step:
        parts.append(f"Next: {next_step}")
    return "\n".join(parts)


def _headline(data: Data) -> str:
    health = data["systemHealth"]
    if isinstance(health, dict):
        words = [str(health[key]) for key in ("status", "message", "reason") if health.get(key)]
        score = f" (score {printed(health.get('score'))})" if health.get("score") is not None else ""
        return f"System health: {': '.join(words) or 'unknown'}{score}, {data['timestamp']}."
    return f"System health: {health if health is not None else 'unknown'}, {data['timestamp']}."


def _server(one: Data) -> list[str]:
    return [
        str(one.get("status", "–")),
        printed(one.get("healthScore")),
        printed(one.get("calls")),
        printed(one.get("p95")),
        printed(one.get("errorRate")),
        printed(one.get("activeAlerts")),
        str(one.get("name", "–")),
    ]


def _lines(rows: list[Any], cut: int) -> str:
    more = f" and {cut} more" if cut else ""
    return f"{len(rows)}{more} in the structured content"
