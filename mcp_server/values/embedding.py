"""The answer to an embedding request."""

from __future__ import annotations

from collections.abc import Sequence

from mcp_server.values.base import Struct
from mcp_server.values.usage import Usage


class Embeddings(Struct):
    """The answer to an embedding request."""

    vectors: tuple[Sequence[float], ...]
    """One vector for each input, in order, all of the same dimensions."""
    usage: Usage = Usage()
    """The tokens of the request."""
