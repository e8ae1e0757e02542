"""What is in the checkout is fit for strangers."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

FORBIDDEN = {
    "a folder of one machine": re.compile(r"(?<![\w.~])/(?:home|Users|root|work|tmp/\w)/", re.ASCII),
    "the host of a package index": re.compile(r"\b(?:[\w-]+\.)*(?:pypi|pythonhosted|npmjs)\.(?:org|com)\b"),
    "a private key": re.compile(r"-----BEGIN (?:\w+ )?PRIVATE KEY-----"),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what: str) -> None:
    """A checkout says nothing of the machine that it was made on, and picks nobody's package index."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = [
        f"{name}:{number}: {line.strip()}"
        for name in filter(None, tracked.split("\0"))
        if name != Path(__file__).relative_to(ROOT).as_posix() and (ROOT / name).is_file()
        for number, line in enumerate((ROOT / name).read_text(errors="ignore").splitlines(), 1)
        if FORBIDDEN[what].search(line)
    ]
    assert not found
