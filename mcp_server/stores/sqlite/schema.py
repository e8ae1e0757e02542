"""The tables of the file, and how a file of an earlier version becomes one of this."""

from __future__ import annotations

from typing import Final

APPLICATION_ID: Final = 0x6D635073
"""Marks a file as ours in its header."""

# Each step takes a file from the version that is its position to the next one; a new file goes through all of them. A
# step that was released never changes.
#
# sessions   What changes with each turn, in columns, so that a turn rewrites one small row. ``key`` is never used twice
#            while anything of an earlier holder is left. ``end_time`` is when the session counts as expired.
# contents   What rarely changes and may be large. Lists read ``summary`` alone.
# labels     One row a label, ordered as sessions are listed.
# messages   ``key`` is the session's key times 2**32 plus the message's index: a history lies together, in order.
# segments   Of a fork: its messages below ``stop``, and not below the ``stop`` before, are those that the session with
#            the key ``writer`` wrote. They stay as long as a segment refers to them, also when that session goes. The
#            greatest ``stop`` is ``shared`` of the fork.
# turns      ``session`` is a session's key; ``owner`` is set while a turn is queued or running.
# events     ``key`` is the turn's key times 2**24 plus the number of the piece of its log.
# receipts   What calls with a request_id did that are no turns.
# removed    Keys of sessions that are gone and whose messages and turns are still to be cleared away.
STEPS: Final = (
    """
    CREATE TABLE sessions (
        key INTEGER PRIMARY KEY,
        tenant TEXT NOT NULL,
        id TEXT NOT NULL,
        uid TEXT NOT NULL,
        create_time INTEGER NOT NULL,
        update_time INTEGER NOT NULL,
        etag TEXT NOT NULL,
        expire_time INTEGER,
        end_time INTEGER,
        message_count INTEGER NOT NULL,
        fence INTEGER NOT NULL,
        claim_turn TEXT,
        claim_owner TEXT,
        claim_fence INTEGER,
        claim_expire_time INTEGER
    );
    CREATE UNIQUE INDEX sessions_by_id ON sessions (tenant, id);
    CREATE UNIQUE INDEX sessions_by_uid ON sessions (tenant, uid);
    CREATE INDEX sessions_by_age ON sessions (tenant, create_time, uid);
    CREATE INDEX sessions_by_end ON sessions (end_time) WHERE end_time IS NOT NULL;

    CREATE TABLE contents (key INTEGER PRIMARY KEY, summary BLOB NOT NULL, content BLOB NOT NULL);

    CREATE TABLE labels (
        tenant TEXT NOT NULL,
        name TEXT NOT NULL,
        value TEXT NOT NULL,
        create_time INTEGER NOT NULL,
        uid TEXT NOT NULL,
        session INTEGER NOT NULL,
        PRIMARY KEY (tenant, name, value, create_time, uid)
    ) WITHOUT ROWID;

    CREATE TABLE messages (key INTEGER PRIMARY KEY, body BLOB NOT NULL);

    CREATE TABLE turns (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL,
        session INTEGER,
        owner TEXT,
        end_time INTEGER,
        body BLOB NOT NULL
    );
    CREATE UNIQUE INDEX turns_by_id ON turns (tenant, id);
    CREATE INDEX turns_by_session ON turns (session) WHERE session IS NOT NULL;
    CREATE INDEX turns_by_owner ON turns (owner) WHERE owner IS NOT NULL;
    CREATE INDEX turns_by_end ON turns (end_time) WHERE end_time IS NOT NULL;

    CREATE TABLE removed (session INTEGER PRIMARY KEY);
    """,
    """
    ALTER TABLE sessions ADD COLUMN shared INTEGER NOT NULL DEFAULT 0;

    CREATE TABLE new_turns (
        key INTEGER PRIMARY KEY,
        tenant TEXT NOT NULL,
        id TEXT NOT NULL,
        session INTEGER,
        service TEXT,
        request_id TEXT,
        owner TEXT,
        end_time INTEGER,
        body BLOB NOT NULL
    );
    INSERT INTO new_turns SELECT rowid, tenant, id, session, NULL, NULL, owner, end_time, body FROM turns;
    DROP TABLE turns;
    ALTER TABLE new_turns RENAME TO turns;
    CREATE UNIQUE INDEX turns_by_id ON turns (tenant, id);
    CREATE INDEX turns_by_session ON turns (session, id) WHERE session IS NOT NULL;
    CREATE UNIQUE INDEX turns_by_request ON turns (tenant, coalesce(session, 0), service, request_id)
        WHERE request_id IS NOT NULL;
    CREATE INDEX turns_by_owner ON turns (owner) WHERE owner IS NOT NULL;
    CREATE INDEX turns_by_end ON turns (end_time) WHERE end_time IS NOT NULL;

    CREATE TABLE events (key INTEGER PRIMARY KEY, body BLOB NOT NULL);

    CREATE TABLE receipts (
        tenant TEXT NOT NULL,
        scope TEXT NOT NULL,
        service TEXT NOT NULL,
        request_id TEXT NOT NULL,
        create_time INTEGER NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (tenant, scope, service, request_id)
    ) WITHOUT ROWID;
    CREATE INDEX receipts_by_age ON receipts (create_time);

    CREATE TABLE segments (
        session INTEGER NOT NULL,
        stop INTEGER NOT NULL,
        writer INTEGER NOT NULL,
        PRIMARY KEY (session, stop)
    ) WITHOUT ROWID;
    CREATE INDEX segments_by_writer ON segments (writer, stop);
    """,
)

VERSION: Final = len(STEPS)
"""The version of the tables that this code reads and writes."""

TABLES: Final = (
    "sessions",
    "contents",
    "labels",
    "messages",
    "segments",
    "turns",
    "events",
    "receipts",
    "removed",
)
"""The tables of this version."""
