"""Masks what a vendor's words must not carry to a caller: addresses, and anything like a key."""

from __future__ import annotations

import re
from typing import Final

MASK: Final = "***"
"""What stands in the place of a secret."""
_DOMAINS: Final = (
    "ai|app|az|cc|ch|cloud|cn|co|com|corp|de|dev|edu|eu|fr|gov|home|host|in|info|intern|internal|io|jp|kr|lan|local|"
    "localdomain|me|net|org|ru|run|sh|site|so|svc|tech|tv|uk|us|xyz"
)
_ADDRESS: Final = (
    r"\b[a-z][a-z0-9+.-]{1,15}://[^\s\"'<>)\]},;]+",
    r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+",  # of a person
    r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?(?![\w.]*\d)",
    r"\[[0-9a-f:.]*:[0-9a-f:.]*:[0-9a-f:.]*\](?::\d+)?",
    r"(?<![\w:])(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}(?![\w:])",
    r"\blocalhost(?::\d+)?(?:/[^\s\"']*)?",
    rf"(?<![\w.-])(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+(?:{_DOMAINS})\b(?::\d+)?(?:/[^\s\"'<>)\]}}]*)?",
    r"(?<![\w.-])[a-z][a-z0-9.-]*[a-z0-9]:\d{4,5}(?:/[^\s\"']*)?(?![\w.])",
)
_KEY: Final = (
    r"\bbearer\s+[^\s\"',;]+",
    r"[\w.-]*\*{2,}[\w.*-]*",  # what the vendor has masked in part
    (
        r"\b(?:sk|pk|rk|gsk|xai|hf|nvapi|pplx|csk|tgp|fw|proj|org|acct|eyJ|AIza|ya29|AKIA|ASIA|ghp|glpat|ak|lsv2|r8)"
        r"(?=[\w.-]*\d)[-_.]?[\w.-]{6,}"
    ),
    r"\b(?:sk|pk|rk|proj|org)-[\w-]{6,}",
    r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b",
    r"(?<![A-Za-z0-9])(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9+/]{20,}={0,2}(?![A-Za-z0-9])",
    r"(?<![A-Za-z0-9])[A-Za-z0-9]{32,}(?![A-Za-z0-9])",
)
_SECRET: Final = re.compile("|".join((*_ADDRESS, *_KEY)), re.IGNORECASE)


def mask(text: str) -> str:
    """The text with ``***`` for each address and for whatever looks like a key or an account."""
    return _SECRET.sub(MASK, text)
