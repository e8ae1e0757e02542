"""Images for messages."""

from __future__ import annotations

import base64
import binascii
import mimetypes
import os
from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from mcp_client.values.message import Blob

_SIGNATURES: Final = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (0, b"BM", "image/bmp"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftypheic", "image/heic"),
)
"""Where a format has its signature, the signature, and the MIME type."""
_ANY: Final = "image/*"


class Image:
    """Creates the :class:`Blob` of an image, for a message.

    ::

        await client.chat(Message.user("What is this?", Image.from_path("cat.png")))
    """

    @staticmethod
    def from_path(path: str | os.PathLike[str], *, mime_type: str = "") -> Blob:
        """Read an image file.

        Args:
            path: of the file.
            mime_type: for example ``image/png``; empty: by the content of the file, then by its extension.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is not an image.
        """
        file = Path(path)
        data = file.read_bytes()
        return Blob(mime_type=mime_type or _type_of(data) or _type_by_name(file.name, str(path)), data=data)

    @staticmethod
    def from_bytes(data: bytes, *, mime_type: str = "") -> Blob:
        """Take the content of an image file.

        Args:
            data: the content.
            mime_type: for example ``image/png``; empty: by the content.

        Raises:
            ValueError: the content is empty, or of no known format and ``mime_type`` is empty.
        """
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"data: expected bytes, not {type(data).__name__}")
        content = bytes(data)
        if not content:
            raise ValueError("data: an image has at least one byte")
        if not (kind := mime_type or _type_of(content)):
            raise ValueError("data: the format is unknown: set mime_type, for example to 'image/png'")
        return Blob(mime_type=kind, data=content)

    @staticmethod
    def from_url(url: str, *, mime_type: str = "") -> Blob:
        """Refer to an image in the web, which the provider loads; or take that of a ``data:`` URL.

        Args:
            url: ``https:`` or ``data:``.
            mime_type: for example ``image/png``; empty: by the extension, or what the ``data:`` URL says.

        Raises:
            ValueError: it is not such a URL.
        """
        if not isinstance(url, str):
            raise TypeError(f"url: expected a text, not {type(url).__name__}")
        scheme = urlsplit(url).scheme
        if scheme == "data":
            return _from_data_url(url, mime_type)
        if scheme != "https":
            raise ValueError(f"url: expected https: or data:, not {url[:80]!r}")
        guessed, _ = mimetypes.guess_type(urlsplit(url).path)
        known = guessed if guessed and guessed.startswith("image/") else _ANY
        return Blob(mime_type=mime_type or known, uri=url)


def _from_data_url(url: str, mime_type: str) -> Blob:
    head, comma, body = url.removeprefix("data:").partition(",")
    kind, *flags = head.split(";")
    try:
        if not comma:
            raise ValueError("no comma")
        encoded = unquote_to_bytes(body)
        data = base64.b64decode(encoded, validate=True) if "base64" in flags else encoded
    except (ValueError, binascii.Error) as error:
        raise ValueError(f"url: expected data:image/png;base64,…, not {url[:40]!r}: {error}") from error
    return Image.from_bytes(data, mime_type=mime_type or kind)


def _type_of(data: bytes) -> str:
    """The MIME type of a content; empty: unknown."""
    for start, signature, kind in _SIGNATURES:
        if data.startswith(signature, start):
            return kind
    return ""


def _type_by_name(name: str, path: str) -> str:
    guessed, _ = mimetypes.guess_type(name)
    if not guessed or not guessed.startswith("image/"):
        raise ValueError(f"path: {path} is not an image of a known format; otherwise set mime_type")
    return guessed
