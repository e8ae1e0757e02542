"""The size of an image, read from its header: a file of a kilobyte can take gigabytes once it is decoded."""

from __future__ import annotations

import re
import struct
from typing import Final

MEDIA_TYPES: Final = ("image/bmp", "image/gif", "image/jpeg", "image/png")
"""The formats of images that are decoded."""
MAX_PIXELS: Final = 1 << 27
"""The most pixels of all images of a prompt together: they take up to a gigabyte while they are decoded."""
_MARKER: Final = re.compile(rb"\xff([^\xff])")
_FRAME: Final = (0xC0, 0xC1, 0xC2)
"""The JPEG markers that the size follows, of the kinds of JPEG that llama.cpp decodes."""


def pixels_of(data: bytes) -> int | None:
    """How many pixels an image has by its header; ``None`` if it has none of the :data:`MEDIA_TYPES`.

    Its own first bytes count, as for llama.cpp, and not what somebody calls it.
    """
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            width, height = struct.unpack_from(">II", data, 16) if data[12:16] == b"IHDR" else (0, 0)
        elif data.startswith((b"GIF87a", b"GIF89a")):
            width, height = struct.unpack_from("<HH", data, 6)
        elif data.startswith(b"BM"):
            (header,) = struct.unpack_from("<I", data, 14)
            width, height = struct.unpack_from("<HH" if header == 12 else "<ii", data, 18)
        elif data.startswith(b"\xff\xd8"):
            width, height = _jpeg(data)
        else:
            return None
    except struct.error:
        return None
    return abs(width * height) or None


def _jpeg(data: bytes) -> tuple[int, int]:
    """The width and the height; zeros if it does not say them."""
    at = 2
    while (marker := _MARKER.search(data, at)) is not None:
        at = marker.end()
        if marker[1][0] in _FRAME:
            height, width = struct.unpack_from(">HH", data, at + 3)
            return width, height
        at += struct.unpack_from(">H", data, at)[0]
    return 0, 0
