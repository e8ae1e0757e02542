"""The SQLite store opens the files of earlier releases: see ``files/README.md``."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from mcp_server.errors import ConfigError
from mcp_server.interfaces import Change, LookUp, RequestKey, Stored
from mcp_server.stores.sqlite import SQLiteStore, file, schema
from mcp_server.testing.contracts.stores.values import (
    NOW,
    fork,
    look,
    messages,
    put,
    put_turn,
    query,
    replace,
    session,
    texts,
    turn,
)
from mcp_server.values import SECOND, Lease, MCPSession, Turn, TurnState

FILES = Path(__file__).parent / "files"
NOON = 1_767_268_800 * SECOND
TENANT = "default"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A copy of what release 0.3.0 has left behind."""
    return Path(shutil.copy(FILES / "0.3.0.db", tmp_path / "sessions.db"))


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLiteStore]:
    """The store over that copy."""
    store = SQLiteStore(path)
    await store.open()
    yield store
    await store.close()


async def the_session(store: SQLiteStore, name: str) -> MCPSession:
    """A session of the file."""
    session = await store.session(TENANT, name)
    assert session is not None
    return session


async def the_turn(store: SQLiteStore, session: str, request_id: str) -> Turn:
    """A turn of the file, by its request_id."""
    service, in_session = ("chat", True) if session else ("completion", False)
    key = RequestKey(service=service, request_id=request_id, in_session=in_session)
    turn = (await look(store, session, LookUp(request=key), tenant=TENANT)).turn
    assert turn is not None
    assert await store.turn(TENANT, turn.id) == turn
    return turn


async def test_sessions_are_read(store: SQLiteStore) -> None:
    """With every field, and in lists by label."""
    tour = await the_session(store, "tour")
    assert tour.labels == {"team": "blue"}
    assert tour.metadata == {"plan": {"days": [1, 2]}}
    assert (tour.system_instruction, tour.default_model) == ("Be brief.", "scripted/scripted")
    assert {name: entry.text or entry.json for name, entry in tour.context.items()} == {
        "note": "Ada likes trains.",
        "facts": {"age": 36},
    }
    assert (tour.ttl, tour.message_count, tour.claim) == (300_000_000 * SECOND, 3, "")
    assert tour.create_time == NOON + 2_000_000
    found = await store.sessions(query(tenant=TENANT, now=NOON, labels={"team": "blue"}))
    assert [session.id for session in found] == ["tour", "branch"]
    assert await store.counts(NOON) == {"sessions": 3}


async def test_histories_are_read_and_continued(store: SQLiteStore) -> None:
    """Of a session, and of its fork, which shares messages."""
    tour, branch = await the_session(store, "tour"), await the_session(store, "branch")
    assert branch.parent == "tour"
    history = [message.text for message in await store.messages(TENANT, tour.uid, 0, 9)]
    assert history == ["An older message.", "I am Ada.", "Hello Ada."]
    forked = [message.text for message in await store.messages(TENANT, branch.uid, 0, 9)]
    assert forked == ["An older message.", "I am Ada.", "A message of the branch."]
    copy = replace(branch, id="copy", uid="u", message_count=2)
    await store.change(TENANT, "copy", lambda _: Change(session=copy, fork_of=branch.uid))
    assert [message.text for message in await store.messages(TENANT, "u", 0, 9)] == forked[:2]


async def test_turns_that_ended_are_read_with_their_logs(store: SQLiteStore) -> None:
    """In a session and without, successful and failed."""
    chat = await the_turn(store, "tour", "chat-tour")
    assert (chat.state, chat.finish_reason, chat.lease, chat.fence) == (TurnState.SUCCEEDED, "stop", None, 0)
    assert [attempt.provider for attempt in chat.attempts] == ["scripted"]
    assert chat.session_etag == (await the_session(store, "tour")).etag
    assert b"Hello Ada." in b"".join(await store.events(TENANT, chat.id))
    assert (await the_turn(store, "", "complete")).state is TurnState.SUCCEEDED
    failed = await the_turn(store, "branch", "failed")
    assert failed.error is not None
    assert (failed.state, failed.error.reason) == (TurnState.FAILED, "PROVIDER_REJECTED")
    assert list(await store.turns(TENANT, failed.session_uid, 9, "")) == [failed]
    assert await store.forget(NOON + SECOND, 9) == 3 + 5  # and the receipts


async def test_receipts_are_found(store: SQLiteStore) -> None:
    """Of calls that created a session, and of those that changed one."""
    tour = await the_session(store, "tour")
    for request_id, in_session in (("create-tour", False), ("append-tour", True)):
        key = RequestKey(service="session", request_id=request_id, in_session=in_session)
        receipt = (await look(store, "tour", LookUp(receipt=key), tenant=TENANT)).receipt
        assert receipt is not None
        assert (receipt.session_uid, receipt.scope) == (tour.uid, tour.uid if in_session else "")


async def test_unfinished_turns_are_interrupted(store: SQLiteStore) -> None:
    """The turn that ran holds the claim and has a log; it and the queued one can be taken on by another process."""
    running, queued = await the_turn(store, "busy", "running"), await the_turn(store, "busy", "queued")
    assert (running.state, queued.state) == (TurnState.RUNNING, TurnState.QUEUED)
    assert (running.lease, running.fence) == (None, 0)
    assert sorted([turn.id for turn in await store.interrupted("me", 9)]) == sorted([running.id, queued.id])
    assert b"One, two, " in b"".join(await store.events(TENANT, running.id))
    busy = await the_session(store, "busy")
    assert busy.claim == running.id
    assert (await look(store, "busy", LookUp(holder=True), tenant=TENANT)).holder == running

    taken = replace(running, fence=1, lease=Lease(owner="me"))
    await store.change(TENANT, "busy", lambda _: Change(turn=taken, events=b"more"))
    assert await store.turn(TENANT, running.id) == taken
    assert (await store.events(TENANT, running.id))[-1] == b"more"
    assert [turn.id for turn in await store.interrupted("me", 9)] == [queued.id]


async def test_a_claimed_session_expires_when_its_claim_is_released(store: SQLiteStore) -> None:
    """Its time has passed long ago."""
    busy = await the_session(store, "busy")
    assert busy.expire_time is not None
    late = busy.expire_time + 3600 * SECOND
    assert list(await store.expired(late, 9)) == []

    def release(stored: Stored) -> Change:
        assert stored.session is not None
        return Change(session=replace(stored.session, claim=""))

    await store.change(TENANT, "busy", release)
    assert list(await store.expired(late, 9)) == [(TENANT, "busy")]


async def test_a_claim_of_a_turn_that_has_ended_is_dropped(path: Path) -> None:
    """In these files it ended by its own expiry, which claims no longer have."""
    with closing(sqlite3.connect(path)) as connection:
        (turn,) = connection.execute("SELECT id FROM turns WHERE request_id = 'failed'").fetchone()
        for name, holder in (("tour", "missing"), ("branch", turn)):
            connection.execute(
                "UPDATE sessions SET claim_turn = ?, claim_owner = 'dead', claim_fence = 1, claim_expire_time = ?,"
                " end_time = ? WHERE id = ?",
                (holder, 2**62, 2**62, name),
            )
        connection.commit()
    store = SQLiteStore(path)
    await store.open()
    for name in ("tour", "branch"):
        session = await the_session(store, name)
        assert session.claim == ""
        assert session.expire_time is not None
        assert (TENANT, name) in await store.expired(session.expire_time, 9)
    await store.close()


async def test_the_file_has_the_tables_of_this_release(path: Path, tmp_path: Path) -> None:
    """After the upgrade they do not differ from those of a new file, and it is not upgraded twice."""
    schemas = []
    for each in (path, tmp_path / "new.db"):
        for _ in range(2):
            store = SQLiteStore(each)
            await store.open()
            await store.close()
        with closing(sqlite3.connect(each)) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
            schemas.append(sorted(connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()))
    assert schemas[0] == schemas[1]


# -- the steps of an upgrade -----------------------------------------------------------------------------------------


async def test_a_file_of_an_earlier_version_is_upgraded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every missing step runs once, and the data is kept."""
    path = tmp_path / "new.db"
    store = SQLiteStore(path)
    await store.open()
    await put(store, session())
    await store.close()
    monkeypatch.setattr(file, "STEPS", (*schema.STEPS, "CREATE TABLE extra (key INTEGER PRIMARY KEY);"))
    monkeypatch.setattr(file, "VERSION", schema.VERSION + 1)
    for _ in range(2):
        store = SQLiteStore(path)
        await store.open()
        assert await store.session("t", "s") == session()
        await store.close()
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT * FROM extra").fetchall() == []


async def test_an_upgrade_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All steps or none: the earlier release can still use the file."""
    path = tmp_path / "new.db"
    store = SQLiteStore(path)
    await store.open()
    await put(store, session())
    await store.close()
    with monkeypatch.context() as patch:
        patch.setattr(file, "STEPS", (*schema.STEPS, "CREATE TABLE extra (key INTEGER PRIMARY KEY); SELECT nonsense;"))
        patch.setattr(file, "VERSION", schema.VERSION + 1)
        with pytest.raises(ConfigError, match="nonsense"):
            await SQLiteStore(path).open()
    store = SQLiteStore(path)
    await store.open()
    assert await store.session("t", "s") == session()
    await store.close()


async def test_a_file_of_the_first_version_goes_on(tmp_path: Path) -> None:
    """Sessions, messages, ended turns and unfinished turns can be read and continued."""
    path = tmp_path / "new.db"
    ended = turn("ended", session="s", session_uid="uid-s", state=TurnState.SUCCEEDED, end_time=NOW)
    old = [ended, turn("left", lease=None)]
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(schema.STEPS[0])
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
        connection.execute(
            "INSERT INTO sessions VALUES (7, 't', 's', 'uid-s', ?, ?, 'e0', NULL, NULL, 2, 0, NULL, NULL, NULL, NULL)",
            (NOW, NOW),
        )
        connection.execute("INSERT INTO contents VALUES (7, x'80', x'80')")
        for message in messages(0, "a", "b"):
            connection.execute(
                "INSERT INTO messages VALUES (?, ?)", ((7 << 32) + message.index, msgspec.msgpack.encode(message))
            )
        for each, key, owner in zip(old, (7, None), (None, "me"), strict=True):
            connection.execute(
                "INSERT INTO turns VALUES ('t', ?, ?, ?, ?, ?)",
                (each.id, key, owner, each.end_time, msgspec.msgpack.encode(each)),
            )
        connection.commit()
    store = SQLiteStore(path)
    await store.open()
    stored = 2 + sum(len(msgspec.msgpack.encode(message)) for message in messages(0, "a", "b"))
    assert await store.session("t", "s") == session(message_count=2, tokens=stored // 4)
    assert await texts(store, "uid-s") == ["a", "b"]
    await fork(store, "s", "forked", 1)
    assert await texts(store, "uid-forked") == ["a"]
    assert list(await store.turns("t", "uid-s", 9, "")) == [old[0]]
    assert list(await store.events("t", "ended")) == []
    assert list(await store.interrupted("somebody", 9)) == [old[1]]
    interrupted = replace(old[1], state=TurnState.INTERRUPTED, end_time=NOW)
    await put_turn(store, interrupted, b"piece")
    assert await store.turn("t", "left") == interrupted
    assert list(await store.events("t", "left")) == [b"piece"]
    await put_turn(store, turn("new", request_id="r"))
    assert await store.forget(NOW + 1, 9) == 2
    await store.close()
