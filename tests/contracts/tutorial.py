"""The code of docs/write-a-provider.md, out of the page itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.pages import blocks

PAGE = Path(__file__).parent.parent.parent / "docs" / "write-a-provider.md"


def names() -> dict[str, Any]:
    """Everything that the code of the page defines."""
    found: dict[str, Any] = {"__name__": "page"}
    exec(compile("\n".join(blocks(PAGE)), str(PAGE), "exec"), found)  # noqa: S102  # it is our own page
    return found
