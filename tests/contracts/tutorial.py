"""The code of docs/write-a-provider.md, out of the page itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.pages import blocks

PAGE = Path(__file__).parent.parent.parent / "docs" / "write-a-provider.md"
HTTP = "## A provider for an HTTP API"
"""The heading of the second part."""


def names(code: str = "") -> dict[str, Any]:
    """Everything that a piece of the code defines; by default all of it."""
    found: dict[str, Any] = {"__name__": "page"}
    exec(compile(code or "\n".join(blocks(PAGE)), str(PAGE), "exec"), found)  # noqa: S102  # it is our own page
    return found


def parrot(until: str = "") -> str:
    """The module ``parrot.py`` up to the step with that heading, which is included; by default to its end."""
    text = PAGE.read_text().partition(f"{HTTP}\n")[2]
    if until:
        begin, step, rest = text.partition(f"### {until}\n")
        assert step, f"there is no step {until!r}"
        text = begin + step + re.split(r"^##+ ", rest, flags=re.MULTILINE)[0]
    code = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return "\n".join(code)
