"""The code in the pages of the documentation."""

from __future__ import annotations

import re
from pathlib import Path


def blocks(page: Path, language: str = "python") -> list[str]:
    """The blocks of code of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
