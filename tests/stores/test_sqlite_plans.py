"""The SQLite store finds rows by an index, so that a call does not cost more when more is stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mcp_server.interfaces import NO_LOOK_UP, Change, LookUp, RequestKey
from mcp_server.stores.sqlite.changes import Changes
from mcp_server.stores.sqlite.file import DatabaseFile
from mcp_server.testing.contracts.stores.values import NOW, messages, query, receipt, session, turn
from mcp_server.values import TurnState


@pytest.fixture
def statements(tmp_path: Path) -> Iterator[list[str]]:
    """The query plan of every statement: of the life of a session and of all reads."""
    file = DatabaseFile(tmp_path / "sessions.db")
    with closing(file.open()) as connection:
        changes = Changes(connection)

        def change(name: str, look_up: LookUp = NO_LOOK_UP, **fields: Any) -> None:
            changes.change("t", name, lambda _: Change(**fields), look_up)

        made: list[str] = []
        connection.set_trace_callback(made.append)
        changes.begin()
        new = session(labels={"a": "b"}, expire_time=NOW)
        running = turn(session="s", session_uid="uid-s", request_id="r")
        change("s", session=new, receipt=receipt())
        change("s", session=session(claim="turn"), turn=running, events=b"e", read_last=5)
        changes.commit()
        changes.roll_back()
        changes.begin()
        change("s", session=session(message_count=2), append=messages(0, "a", "b"), turn=running, events=b"e")
        change("fork", session=session("fork", message_count=2), fork_of="uid-s", append=messages(1, "c"))
        changes.commit()
        changes.roll_back()
        changes.begin()
        for in_session in (True, False):
            key = RequestKey(service="chat", request_id="r", in_session=in_session)
            change("s", LookUp(request=key, receipt=key, other="fork"))
        change("s", session=session(message_count=2, claim="turn"))
        change("s", LookUp(turn="turn", holder=True), read_last=5)
        change("fork", read_last=5)
        changes.session("t", "s")
        changes.turn("t", "turn")
        changes.events("t", "turn")
        for before in ("", "turn9"):
            changes.turns("t", "uid-s", 5, before)
        change("s", session=session(message_count=1), rewind=1)
        change("fork", session=session("fork"), rewind=0)
        change("other", session=session("other"))
        change("s", session=session(message_count=2), append=messages(1, "d"))
        for name in ("s", "fork"):
            changes.messages("t", f"uid-{name}", 0, 9)
        changes.expired(NOW, 5)
        changes.interrupted("me", 5)
        for newest_first in (False, True):
            for labels in ({}, {"a": "b"}, {"a": "b", "c": "d"}):
                for after in (None, (NOW, "uid")):
                    changes.sessions(query(labels=labels, newest_first=newest_first, after=after))
        change("", turn=turn("old", state=TurnState.SUCCEEDED, end_time=NOW))
        changes.forget(NOW + 1, 5)
        for name in ("s", "fork"):
            change(name, delete=True)
        while changes.has_garbage:
            changes.collect_garbage()
        changes.commit()
        connection.set_trace_callback(None)
        plans = [
            f"{statement}: {row[3]}"
            for statement in dict.fromkeys(made)
            if statement.startswith(("SELECT", "INSERT", "UPDATE", "DELETE"))
            for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")
        ]
        yield plans
    file.close()


def test_no_statement_looks_through_a_table(statements: list[str]) -> None:
    """Only garbage, the first rows of a label and the index of unfinished turns are scanned."""
    scans = [plan for plan in statements if ": SCAN" in plan]
    allowed = ("SCAN removed", "SCAN rewound", "SCAN (subquery", "USING INDEX turns_by_owner")
    assert len(statements) > 60
    assert [plan for plan in scans if not any(scan in plan for scan in allowed)] == []


def test_no_list_is_sorted(statements: list[str]) -> None:
    """Rows come from an index in the order of the list, so the first page costs no more than its rows."""
    assert [plan for plan in statements if "TEMP B-TREE" in plan] == []


def test_no_turn_or_receipt_is_looked_for_among_all_of_a_tenant(statements: list[str]) -> None:
    """The index is used with all of its columns."""
    found = [plan for plan in statements if "turns_by_" in plan or "SEARCH receipts" in plan]
    assert len(found) > 10
    assert [plan for plan in found if plan.endswith("(tenant=?)")] == []
