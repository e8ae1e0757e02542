"""The provider that docs/write-a-provider.md builds, out of the page itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent.parent.parent / "docs" / "write-a-provider.md"


def blocks(language: str) -> list[str]:
    """The code of the page in that language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def provider_class() -> Any:
    """The class of the first block."""
    names: dict[str, Any] = {}
    exec(compile(blocks("python")[0], str(PAGE), "exec"), names)  # noqa: S102  # it is our own page
    return names["Shouting"]
