"""Detects processes in which gRPC does not work: forked from one that already uses it, or patched by gevent."""

from __future__ import annotations

import functools
import os
import sys
import warnings
from typing import Final

FORKED: Final = (
    "this process was forked from one that had already used a client, whose connections do not work here: "
    "fork before the first call, or start processes with the method `spawn`"
)


UNPREPARED: Final = (
    "gevent has patched this process and gRPC is not prepared for it: each call stops all greenlets until it ends. "
    "Call grpc.experimental.gevent.init_gevent() before the first client is created"
)


def check_gevent() -> None:
    """Warn if calls of the blocking client would stop all greenlets of the process."""
    patches = sys.modules.get("gevent.monkey")
    patched = patches is not None and patches.is_module_patched("threading")
    if patched and "grpc.experimental.gevent" not in sys.modules:
        warnings.warn(UNPREPARED, RuntimeWarning, stacklevel=2)


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
