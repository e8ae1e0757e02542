"""The page docs/faults.md says of each fault what the tests have seen."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from tests.models import fault_table
from tests.models.fates import FATES, LATER, UNREACHABLE
from tests.upstream.faults import AFTER_OUTPUT, STALLED, SUCCESSES

PAGE = fault_table.PAGE.read_text()


def table() -> Mapping[str, list[str]]:
    """The cells behind each fault."""
    lines = PAGE.partition("| what the provider does |")[2].partition("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name: cells for names, *cells in rows for name in names.split("; ")}


ROWS = table()
ATTEMPTS = fault_table.read()
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
        silent = reason == "PROVIDER_TIMEOUT"
        assert again == ("after the others" if silent else "yes" if fate.retried else "no")
    assert following.startswith("no") == (not fate.falls_back) or name == "context too long"
    assert row == ("estimated" if fate.costs else "none")


@pytest.mark.parametrize(
    ("routing", "unary", "column"), [(fault_table.QUICK, False, 1), (fault_table.IMPATIENT, True, 3)]
)
async def test_the_attempts_are_true(routing: Mapping[str, float], unary: bool, column: int) -> None:
    """Of every fault, streamed with the quick configuration, and unary with the defaults but for their patience."""
    rows = await fault_table.measure_all(routing, unary=unary, patience=fault_table.PATIENCE)
    assert {name: (row.end, row.attempts) for name, row in rows.items()} == {
        name: (cells[0], cells[column]) for name, cells in ATTEMPTS.items()
    }
    assert {row.text for row in rows.values() if row.end == "complete"} == {fault_table.ELSEWHERE.text}
