"""What callers may compress: requests, by gzip."""

from __future__ import annotations

import zlib
from typing import Final

from mcp_server.errors import InvalidArgument, Violation
from mcp_server.web.exchange import HTTPProblem

ENCODINGS: Final = "gzip, identity"
_GZIP: Final = 31
"""For zlib: the greatest window, in gzip's format."""


def require_known(encoding: str, header: str, accepts: str) -> bool:
    """Return whether messages are compressed.

    Args:
        encoding: the compression that the request names.
        header: the header that names it.
        accepts: the header of the response that lists what the server accepts.

    Raises:
        HTTPProblem: it is another than gzip.
    """
    if encoding.strip().lower() in ("", "identity"):
        return False
    if encoding.strip().lower() == "gzip":
        return True
    text = f"the header {header} is {encoding[:64]!r}: the server takes {ENCODINGS.replace(', ', ' and ')}"
    raise HTTPProblem(501, "UNIMPLEMENTED", text, {accepts: ENCODINGS})


def unpack(data: bytes, most: int) -> bytes:
    """What was compressed by gzip, of at most ``most`` bytes: no more than that is ever unpacked.

    Raises:
        InvalidArgument: it is larger, cut, or not gzip.
    """
    if not data:
        return data
    stream = zlib.decompressobj(_GZIP)
    try:
        unpacked = stream.decompress(data, most + 1)
    except zlib.error:
        raise _refused("the request is not compressed by gzip, as its headers say") from None
    if len(unpacked) > most:
        raise _refused(f"the request is unpacked larger than {most} bytes, the largest that this server accepts")
    if not stream.eof:
        raise _refused("the compressed request is cut off")
    if stream.unused_data:
        raise _refused("something follows the compressed request")
    return unpacked


def _refused(problem: str) -> InvalidArgument:
    return InvalidArgument([Violation(field="", description=problem)])
