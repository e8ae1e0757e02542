"""Detects processes that were forked from one that already uses gRPC."""

from __future__ import annotations

import functools
import os
from typing import Final

FORKED: Final = (
    "this process was forked from one that had already used a client, whose connections do not work here: "
    "fork before the first call, or start processes with the method `spawn`"
)


def connecting_process() -> int:
    """The id of this process, which is about to open a connection.

    Raises:
        RuntimeError: the process was forked from one that uses gRPC. A connection would most likely hang.
    """
    process = os.getpid()
    if _first_process() != process:
        raise RuntimeError(FORKED)
    return process


@functools.cache
def _first_process() -> int:
    return os.getpid()
