"""The memory of large requests is the system's again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
from pathlib import Path
from mcp_server.allocator import return_large_blocks

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

assert return_large_blocks()
before = resident()
for size in range(2, 17):
    blocks = [bytes(b"x") * (size << 20) for _ in range(4)]
    kept = b"small" * 1000  # lies above them, if they are taken from the heap
    del blocks
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has another allocator")
def test_large_blocks_go_back_to_the_system() -> None:
    """However many there were."""
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert int(ended.stdout) < 8 * 2**20
