"""Render the table of metrics in `docs/observability.md` from the definitions in `mcp_server/middleware/metrics`."""

from __future__ import annotations

from pathlib import Path

from _sections import filled, row

from mcp_server.middleware.metrics import Metrics

HEAD = "| metric | type | labels | meaning |\n|-|-|-|-|\n"


def render(root: Path) -> str:
    """The page as it is in the checkout ``root``, with its table made anew."""
    lines = [HEAD]
    for family in Metrics().families:
        name = f"{family.name}_total" if family.kind == "counter" else family.name
        labels = ", ".join(f"`{label}`" for label in family.labels)
        lines.append(row(f"`{name}`", family.kind, labels, family.help))
    return filled(root / "docs" / "observability.md", "mcp_server/middleware/metrics", "".join(lines))
