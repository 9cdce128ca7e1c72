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
code { font: 0.9em ui-monospace, monospace }
</style>
</head>
<body>
<h1>Performance Monitor</h1>
<p>This machine's record of MCP tool calls: what was slow, what failed, what is abnormal.</p>
<ul>
<li><code>/mcp</code>: the MCP server, streamable HTTP, for clients that hold the token (<code>perfmon connect</code> adds it to
Claude Code)</li>
<li><a href="/healthz">/healthz</a>: whether this gateway answers</li>
</ul>
<p>In a terminal: <code>perfmon status</code> shows each process, <code>perfmon doctor</code> says what is wrong.</p>
</body>
</html>
"""
