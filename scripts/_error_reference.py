"""Render the tables of error reasons in the documentation from the classes in `mcp_server/errors.py`."""

from __future__ import annotations

import inspect
from pathlib import Path

from _sections import filled, row

from mcp_server.errors import BY_REASON, MCPError, RetryAdvice

SOURCE = "mcp_server/errors.py"
HEAD = "| reason | gRPC status | HTTP | what happened | what to do | retry |\n|-|-|-|-|-|-|\n"


def errors(root: Path) -> str:
    """The page `docs/errors.md` of the checkout ``root``: a table for each branch of the tree."""
    branches: dict[type[MCPError], str] = {}
    for kind in BY_REASON.values():
        branch = kind if MCPError in kind.__bases__ else kind.__bases__[0]
        heading = f"### `{branch.__name__}`\n\n" + (f"{inspect.getdoc(branch)}\n\n" if branch is not kind else "")
        branches[branch] = branches.get(branch, heading + HEAD) + _row(kind)
    return filled(root / "docs" / "errors.md", SOURCE, "\n".join(branches.values()))


def streaming(root: Path) -> str:
    """The page `docs/streaming.md` of the checkout ``root``: which reasons are retried, and how."""
    lines = ["| retry | reasons |\n|-|-|\n"]
    for retry in RetryAdvice:
        reasons = [reason for reason, kind in BY_REASON.items() if kind.retry is retry]
        lines.append(row(retry.value, ", ".join(reasons)))
    return filled(root / "docs" / "streaming.md", SOURCE, "".join(lines))


def _row(kind: type[MCPError]) -> str:
    cells = (f"`{kind.reason}`", kind.code, str(kind.http_status), inspect.getdoc(kind) or "", kind.action)
    return row(*cells, kind.retry.value)
