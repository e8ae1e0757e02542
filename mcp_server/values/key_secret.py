"""The secrets of API keys: ``ctx_``, the public id of 12 characters, ``_``, and 43 random characters.

43 characters of an alphabet of 62 are 256 random bits.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
from typing import Final

PREFIX: Final = "ctx_"
ID_LENGTH: Final = 12
_ID_ALPHABET: Final = string.ascii_lowercase + string.digits
_ALPHABET: Final = string.ascii_letters + string.digits
_ID: Final = re.compile("[a-z0-9]{12}")
_SECRET: Final = re.compile("ctx_([a-z0-9]{12})_[A-Za-z0-9]{43}")


def new_key_id() -> str:
    """A random public id."""
    return "".join(secrets.choice(_ID_ALPHABET) for _ in range(ID_LENGTH))


def key_id_from(digest: bytes) -> str:
    """The public id that follows from at least 12 bytes."""
    return "".join(_ID_ALPHABET[byte % len(_ID_ALPHABET)] for byte in digest[:ID_LENGTH])


def new_secret(key_id: str) -> str:
    """A random secret of the key with that id."""
    return f"{PREFIX}{key_id}_{''.join(secrets.choice(_ALPHABET) for _ in range(43))}"


def is_key_id(text: str) -> bool:
    """Whether ``text`` has the form of a public id."""
    return _ID.fullmatch(text) is not None


def key_id_of(secret: str) -> str | None:
    """The public id in a secret; ``None``: it does not have the form of a secret."""
    match = _SECRET.fullmatch(secret)
    return match[1] if match is not None else None


def hash_of(secret: str) -> bytes:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode()).digest()
