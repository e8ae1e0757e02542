"""The page docs/faults.md says of each fault what the tests have seen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.models.fates import FATES, LATER, UNREACHABLE
from tests.upstream.faults import AFTER_OUTPUT, STALLED, SUCCESSES

PAGE = (Path(__file__).parents[2] / "docs" / "faults.md").read_text()


def table() -> Mapping[str, list[str]]:
    """The cells behind each fault."""
    lines = PAGE.partition("| what the provider does |")[2].partition("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name: cells for names, *cells in rows for name in names.split("; ")}


ROWS = table()
ALL = {**FATES, **UNREACHABLE}


def test_the_page_has_every_fault_and_no_other() -> None:
    """By the names of the tests; and every odd answer that is none."""
    assert ROWS.keys() == ALL.keys()
    text = re.sub(r"\s+", " ", PAGE)
    assert [name for name in SUCCESSES if f"**{name}**" not in text] == []


@pytest.mark.parametrize("name", ALL)
def test_a_row_is_true(name: str) -> None:
    """The reason, who is asked next, and what the ledger counts."""
    fate, cut = ALL[name], name in AFTER_OUTPUT or name in STALLED
    reason, again, following, row = ROWS[name]
    assert reason == fate.reason
    if cut:
        assert (again, following) == ("after the others", "by `on_cut`")
    elif name not in LATER and reason != "PROVIDER_REJECTED":
        assert again == ("yes" if fate.retried else "no")
    assert following.startswith("no") == (not fate.falls_back) or name == "context too long"
    assert row == ("estimated" if fate.costs else "none")
