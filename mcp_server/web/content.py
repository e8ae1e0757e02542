"""Images, audio and files in messages."""

from __future__ import annotations

import base64
import binascii
import mimetypes
from typing import Final
from urllib.parse import urlsplit

from mcp_server.rules import Violations
from mcp_server.values import Blob

PLACEHOLDER: Final = Blob(mime_type="image/png", data=b"-")
"""Stands for what could not be converted."""
AUDIO: Final = {"wav": "audio/wav", "mp3": "audio/mpeg"}
"""The MIME types of audio formats."""


def blob_of_url(found: Violations, field: str, url: str, *, kind: str = "image") -> Blob:
    """What a ``data:`` URL holds, or a reference to what an ``https:`` URL leads to.

    Args:
        found: what is wrong.
        field: where the URL stands, as the caller writes it.
        url: the URL.
        kind: the first half of the MIME type of what an address without a known ending leads to.
    """
    if not url.startswith("data:"):
        if not url.startswith("https://"):
            found.add(field, "must begin with https:// or data:")
            return PLACEHOLDER
        try:
            path = urlsplit(url).path
        except ValueError:
            found.add(field, "must be a valid address")
            return PLACEHOLDER
        return Blob(mime_type=_type_of(path) or f"{kind}/*", uri=url)
    header, comma, text = url[5:].partition(",")
    mime_type, _, encoding = header.rpartition(";")
    if not comma or encoding.strip().lower() != "base64":
        found.add(field, "must be of the form data:TYPE/SUBTYPE;base64,DATA")
        return PLACEHOLDER
    return blob_of_base64(found, field, text, mime_type.partition(";")[0].strip().lower())


def blob_of_base64(found: Violations, field: str, text: str, mime_type: str) -> Blob:
    """What is encoded in Base64."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        found.add(field, "must be valid Base64")
        return PLACEHOLDER
    if not data:
        found.add(field, "must not be empty")
        return PLACEHOLDER
    return Blob(mime_type=mime_type, data=data)


def blob_of_file(found: Violations, field: str, data: str, filename: str) -> Blob:
    """A file: a ``data:`` URL, or Base64 whose MIME type follows from the file's name."""
    if data.startswith("data:"):
        return blob_of_url(found, field, data)
    mime_type = _type_of(filename)
    if mime_type is None:
        found.add(field, "must be of the form data:TYPE/SUBTYPE;base64,DATA, or the filename must tell the type")
        return PLACEHOLDER
    return blob_of_base64(found, field, data, mime_type)


def _type_of(path: str) -> str | None:
    """The MIME type that the ending of a path or of a file's name stands for."""
    return mimetypes.guess_type(path.rpartition("/")[2])[0]
