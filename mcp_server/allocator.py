"""The memory allocator of the C library."""

from __future__ import annotations

import ctypes
from typing import Final

LARGE: Final = 1024 * 1024
"""Bytes from which on a block of memory is the system's again when it is freed."""
_M_MMAP_THRESHOLD: Final = -3


def return_large_blocks() -> bool:
    """Have the memory of large requests go back to the system; return whether the C library does that.

    The allocator of glibc keeps blocks as large as those that were freed before, in every thread. After some requests
    of 16 MiB a process would hold a hundred MiB more for good.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(_M_MMAP_THRESHOLD, LARGE) == 1
