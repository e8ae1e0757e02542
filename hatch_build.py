"""Makes the links and pictures of the README absolute where packages show it, as on the page of a package index."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

RELATIVE = re.compile(r"(?<=\]\()(?!https?://|#)|(?<=\bsrc=\")(?!https?://)")
"""Where the address of a link or a picture begins that is relative to the repository."""


class ReadmeHook(MetadataHookInterface):
    """Sets ``readme``: the repository itself keeps relative links, which lead somewhere in every checkout."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Called when a package is built."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        base = metadata["urls"]["Repository"].rstrip("/")
        metadata["readme"] = {"content-type": "text/markdown", "text": RELATIVE.sub(f"{base}/", text)}
