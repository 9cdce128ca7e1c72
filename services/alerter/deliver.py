"""Send a few messages through an MCP server over stdio, in a process of its own, and end.

    python -m services.alerter.deliver  < {"server": {…}, "timeout_s": 60, "calls": [[key, tool, arguments], …]}

One JSON line on stdout for each call: {"key", "error": null or text}. A process of its own, because the MCP client takes 60 MB
and most of a second to import, and because a server that hangs is got rid of by ending this process: the alerter neither grows
nor waits. Nothing secret is on the command line. What has no line when it ends is to be sent again.
"""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO


def main() -> int:
    """Read the order, carry it out; 0 whenever it could be read."""
    order = json.load(sys.stdin)
    answers, sys.stdout = sys.stdout, sys.stderr
    import anyio

    anyio.run(_deliver, order, answers)
    return 0


async def _deliver(order: dict[str, Any], answers: TextIO) -> None:
    import anyio
    from mcp import Client, MCPError, StdioServerParameters

    server = StdioServerParameters(**order["server"])
    left = {str(key): (tool, arguments) for key, tool, arguments in order["calls"]}
    try:
        with anyio.fail_after(order["timeout_s"]):
            async with Client(server) as client:
                for key, (tool, arguments) in list(left.items()):
                    result = await client.call_tool(tool, arguments)
                    _answer(answers, key, _text(result) if result.is_error else None)
                    del left[key]
    except TimeoutError:
        _fail(answers, left, f"no answer within {order['timeout_s']:g} s")
    except (MCPError, OSError, anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
        _fail(answers, left, f"{type(error).__name__}: {error}")
    except BaseExceptionGroup as group:
        _fail(answers, left, "; ".join(f"{type(error).__name__}: {error}" for error in _leaves(group)))


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def _fail(answers: TextIO, left: dict[str, Any], error: str) -> None:
    for key in left:
        _answer(answers, key, error)


def _answer(answers: TextIO, key: str, error: str | None) -> None:
    answers.write(json.dumps({"key": key, "error": error}) + "\n")
    answers.flush()


def _text(result: Any) -> str:
    texts = [block.text for block in result.content if getattr(block, "text", None)]
    return " ".join(texts)[:2_000] or "the tool failed without a word"


if __name__ == "__main__":
    sys.exit(main())
