"""The plain page at `/`: what this is and where to go. Static, without script or remote asset. Pure."""

from __future__ import annotations

from typing import Final

#: Nothing may run, load or frame; the one style is inline.
PAGE_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Performance Monitor</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 42rem; margin: 3rem auto; padding: 0 1rem; color-scheme: light dark }
h2 { font-size: 1.1rem; margin: 1.6rem 0 0.2rem }
code { font: 0.9em ui-monospace, monospace }
</style>
</head>
<body>
<h1>Performance Monitor</h1>
<p>This machine's record of MCP tool calls: what was slow, what failed, what is abnormal. This page shows no figures; ask for
them with the MCP tools, or open a report.</p>
<h2>A report to look at</h2>
<p>Ask the client that is connected for <code>generate_report</code> with <code>{"period": "day", "format": "html"}</code>: the
answer names the file, which opens in any browser and loads nothing from anywhere.</p>
<h2>What is here</h2>
<ul>
<li><code>/mcp</code>: the MCP server over streamable HTTP, for clients that hold this gateway's token, which is in
<code>state/http.json</code> of the data directory</li>
<li><code>/hooks/claude-code/</code> and the token: takes what Claude Code's hooks tell of its MCP calls</li>
<li><a href="/healthz">/healthz</a>: whether this gateway answers</li>
</ul>
<h2>Connecting a client</h2>
<p><code>perfmon connect claude-code</code> shows what it would write, then adds the stdio entry (<code>perfmon mcp</code>) and
the hooks to Claude Code; it needs nothing of this page. Other clients: run <code>perfmon mcp</code> as a stdio server, or use
<code>/mcp</code> with the token.</p>
<h2>More</h2>
<p>In a terminal: <code>perfmon status</code> shows each process, <code>perfmon doctor</code> says what is wrong,
<code>perfmon explain</code> why the latest anomaly is one.
In the repository: <code>README.md</code> to begin with, <code>docs/anomalies.md</code>, <code>docs/alerts.md</code>,
<code>docs/operations.md</code>, <code>docs/protocol.md</code>, <code>docs/ARCHITECTURE.md</code>.</p>
</body>
</html>
"""
