"""The code of docs/write-a-provider.md, out of the page itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent.parent.parent / "docs" / "write-a-provider.md"


def blocks(language: str) -> list[str]:
    """The code of the page in that language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def names() -> dict[str, Any]:
    """Everything that the code of the page defines."""
    found: dict[str, Any] = {"__name__": "page"}
    exec(compile("\n".join(blocks("python")), str(PAGE), "exec"), found)  # noqa: S102  # it is our own page
    return found
