"""The store of docs/write-a-store.md fulfils the contract, as its author would test it."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

SLOW = ("plain_lists", "however_steps_are_mixed", "see_each_other")
"""Tests with hundreds of changes, each of which writes the whole file of this store."""
PAGE = Path(__file__).parents[3] / "docs" / "write-a-store.md"


async def test_the_store_of_the_page_passes_the_suite(tmp_path: Path) -> None:
    """In a project of its own, with the default settings of pytest."""
    store, test = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "file_store.py").write_text(store)
    (tmp_path / "test_file_store.py").write_text(test)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", f"not ({' or '.join(SLOW)})"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    assert re.search(r"\d{3} passed", printed.decode())
