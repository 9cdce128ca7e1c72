"""The one style sheet of a report's page, and its hash for the content security policy.

Light and dark follow the reader's system. No font, image or sheet is loaded from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

STYLE: Final = """
:root{color-scheme:light dark;--bg:#f4f5f8;--card:#fff;--ink:#171a21;--soft:#5c6573;--faint:#8a93a1;--rule:#e6e8ee;
--blue:#4361d8;--blue-soft:#dfe5fb;--red:#d23a4f;--red-soft:#fbe6e9;--amber:#b7791f;--amber-soft:#fbf0dc;--green:#1a8f62;
--green-soft:#dff4ea;--grey-soft:#eceef2;--teal:#0d9488;--band:#b7791f2b;--shadow:0 1px 2px #1018280d,0 6px 20px #1018280a;
--hero:linear-gradient(125deg,#1c2550 0%,#2f3f93 58%,#4a63d9 100%)}
@media (prefers-color-scheme:dark){:root{--bg:#0c0f15;--card:#151a22;--ink:#e7eaf0;--soft:#9aa4b4;--faint:#6e7888;
--rule:#252c38;--blue:#8098ff;--blue-soft:#222c54;--red:#ff7586;--red-soft:#3b1d26;--amber:#efb454;--amber-soft:#372a14;
--green:#4cca94;--green-soft:#12322a;--grey-soft:#222834;--teal:#3fcfc0;--band:#efb45430;--shadow:0 0 0 1px #1f2631;
--hero:linear-gradient(125deg,#10162e 0%,#1a2450 58%,#2a3a86 100%)}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.55 ui-sans-serif,system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif;-webkit-text-size-adjust:100%;font-variant-numeric:tabular-nums}
.wrap{max-width:1140px;margin:0 auto;padding:0 20px}
header{background:var(--hero);color:#fff;padding:26px 0 104px}
.brand{display:flex;align-items:center;gap:10px;font-size:13px;letter-spacing:.02em;color:#d4dbff}
.brand svg{width:22px;height:22px;flex:none}.brand .pulse{fill:none;stroke:#fff;stroke-width:2;stroke-linecap:round;
stroke-linejoin:round}.brand .tile{fill:#ffffff26}
h1{font-size:30px;line-height:1.2;letter-spacing:-.02em;margin:22px 0 6px;font-weight:680;overflow-wrap:anywhere}
header p{margin:0;color:#d4dbff}
main.wrap{margin-top:-74px;padding-bottom:26px}
section,.hero{background:var(--card);border-radius:14px;box-shadow:var(--shadow);padding:22px 24px;margin:0 0 18px}
h2{font-size:17px;letter-spacing:-.01em;margin:0 0 4px;font-weight:640}
h3{font-size:15px;line-height:1.4;margin:0;font-weight:620;overflow-wrap:anywhere}
.lead{color:var(--soft);margin:0 0 14px;font-size:13.5px}
.hero{display:grid;grid-template-columns:auto 1fr;gap:26px;align-items:center}
.ring{width:148px;height:148px;display:block}.ringtrack,.arc{fill:none;stroke-width:11}.ringtrack{stroke:var(--grey-soft)}
.arc{stroke-linecap:round;stroke:var(--soft)}.arc.healthy{stroke:var(--green)}.arc.degraded{stroke:var(--amber)}
.arc.critical{stroke:var(--red)}.score{font-size:36px;font-weight:700;fill:var(--ink);letter-spacing:-.03em}
.of{font-size:11px;fill:var(--faint)}
.verdict{display:flex;align-items:center;gap:10px;flex-wrap:wrap;font-size:22px;font-weight:660;letter-spacing:-.01em}
.reasons{margin:8px 0 0;padding:0;list-style:none;color:var(--soft)}.reasons li{margin:3px 0;overflow-wrap:anywhere}
.tiles{display:grid;grid-template-columns:repeat(6,1fr);gap:1px;background:var(--rule);border-radius:14px;overflow:hidden;
box-shadow:var(--shadow);margin:0 0 18px}
.tile{background:var(--card);padding:16px 18px;min-width:0}.tile dt{color:var(--soft);font-size:12.5px}
.tile dd{margin:2px 0 0;font-size:23px;font-weight:650;letter-spacing:-.02em;white-space:nowrap}
.tile .delta{display:block;font-size:12px;font-weight:500;letter-spacing:0;color:var(--faint);white-space:normal;line-height:1.35;
margin-top:3px}.delta.worse{color:var(--red)}.delta.better{color:var(--green)}
.pill{display:inline-block;padding:1px 9px;border-radius:99px;font-size:12px;font-weight:600;line-height:1.6;white-space:nowrap;
background:var(--grey-soft);color:var(--soft)}
.pill.healthy,.pill.resolved{background:var(--green-soft);color:var(--green)}
.pill.degraded,.pill.warning,.pill.acknowledged{background:var(--amber-soft);color:var(--amber)}
.pill.critical,.pill.escalated{background:var(--red-soft);color:var(--red)}.pill.info,.pill.active{background:var(--blue-soft);
color:var(--blue)}
.gaps{border-left:4px solid var(--amber)}.gaps ul{margin:6px 0 0;padding-left:18px}.gaps li{margin:3px 0;overflow-wrap:anywhere}
.advice{display:grid;grid-template-columns:1fr 1fr;gap:14px;margin-top:12px}
.tip{border:1px solid var(--rule);border-left:4px solid var(--soft);border-radius:10px;padding:14px 16px}
.tip.critical{border-left-color:var(--red)}.tip.warning{border-left-color:var(--amber)}.tip.info{border-left-color:var(--blue)}
.tip ul{margin:6px 0;padding-left:18px;color:var(--soft);font-size:14px}.tip .do{margin:8px 0 0}
.tip .meta{display:flex;gap:8px;align-items:center;flex-wrap:wrap;color:var(--faint);
font-size:12.5px;margin-bottom:4px}
pre{margin:10px 0 0;padding:10px 12px;border-radius:8px;background:var(--grey-soft);font:12.5px/1.5 ui-monospace,SFMono-Regular,
Menlo,Consolas,monospace;white-space:pre-wrap;overflow-wrap:anywhere;color:var(--ink)}
.two{display:grid;grid-template-columns:1fr 1fr;gap:18px}.two>*{min-width:0}
.two>section,.stack>section:last-child{margin-bottom:18px}
.stack{display:flex;flex-direction:column}.stack>section:last-child{flex:1}
.chart{width:100%;height:auto;display:block}.axis,.label,.figure{font-size:11px;fill:var(--soft)}.label{font-size:12.5px;
fill:var(--ink)}.grid{stroke:var(--rule);stroke-width:1}.ground{stroke:var(--faint);stroke-width:1}
.calls,.bar{fill:var(--blue)}.chart .calls{opacity:.82}.errors{fill:var(--red)}.line{fill:none;stroke-width:2;
stroke-linejoin:round;stroke-linecap:round}.line.p95{stroke:var(--blue)}.line.p50{stroke:var(--teal)}.dot.p95{fill:var(--blue)}
.dot.p50{fill:var(--teal)}.area{fill:var(--blue);opacity:.1}.band{fill:var(--band)}
.legend{display:flex;gap:16px;flex-wrap:wrap;color:var(--soft);font-size:12.5px;margin:0 0 8px}.legend span{display:inline-flex;
align-items:center;gap:6px}.legend i{width:10px;height:10px;border-radius:3px;background:var(--blue)}
.legend .k-errors{background:var(--red)}.legend .k-p50{background:var(--teal)}.legend .k-band{background:var(--band);
outline:1px solid var(--amber)}
.scroll{overflow-x:auto;margin:0 -6px;padding:0 6px}
table{width:100%;border-collapse:collapse;font-size:13.5px}
th{font-weight:560;color:var(--faint);font-size:12px;text-align:left;padding:6px 10px 6px 0;border-bottom:1px solid var(--rule);
white-space:nowrap}
td{padding:9px 10px 9px 0;border-bottom:1px solid var(--rule);vertical-align:top}tr:last-child td{border-bottom:0}
th.n,td.n{text-align:right}td.n{white-space:nowrap}.when{padding-left:18px}td:last-child,th:last-child{padding-right:0}
.name{overflow-wrap:anywhere;font-weight:560}td .name{display:inline-block;min-width:11ch}
td .sub .name{display:inline;min-width:0}td .sub{display:block;color:var(--faint);font-size:12px;font-weight:400}
.sub .name,.reasons .name{font-weight:inherit}.reasons .name,.tip li .name{font-weight:600}
.hot{color:var(--red);font-weight:620}.warm{color:var(--amber);font-weight:620}
.spark{width:110px;height:24px;display:block}.spark .calls{opacity:.6}.share{width:100%;min-width:64px;height:4px;display:block;
margin-top:5px}.track{fill:var(--grey-soft)}.share .calls{opacity:.75}
.note,.none{color:var(--soft);margin:10px 0 0;font-size:13px}.good{display:flex;gap:10px;align-items:center}
.good .tick{width:22px;height:22px;flex:none}.tick circle{fill:var(--green-soft)}.tick path{fill:none;stroke:var(--green);
stroke-width:2;stroke-linecap:round;stroke-linejoin:round}
.said{padding:10px 0;border-bottom:1px solid var(--rule)}.said:last-child{border:0}.said pre{margin-top:6px}
footer{color:var(--soft);font-size:12.5px;padding:2px 4px 40px}footer p{margin:4px 0;overflow-wrap:anywhere}
@media (max-width:900px){.two,.advice{grid-template-columns:1fr}.two{gap:0}.tiles{grid-template-columns:repeat(3,1fr)}}
@media (max-width:600px){.wrap{padding:0 12px}header{padding:18px 0 96px}h1{font-size:24px;margin-top:16px}
section,.hero{padding:16px;border-radius:12px;margin-bottom:12px}.hero{gap:16px}.ring{width:104px;height:104px}
.verdict{font-size:18px}.tiles{grid-template-columns:repeat(2,1fr);margin-bottom:12px}.tile{padding:12px 14px}
.tile dd{font-size:20px}.opt{display:none}.axis{font-size:15px}.label{font-size:17px}.figure{font-size:15px}
td,th{padding-right:8px}td .name{min-width:11ch}}
@media print{body{background:#fff}header{padding-bottom:90px;print-color-adjust:exact;-webkit-print-color-adjust:exact}
section,.hero,.tiles{box-shadow:none;border:1px solid var(--rule);break-inside:avoid}.scroll{overflow:visible}}
"""


def policy() -> str:
    """The content security policy of the page: nothing but this style sheet and inlined images."""
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'; "
        "script-src 'none'; connect-src 'none'; frame-src 'none'; object-src 'none'"
    )
