"""The tables of the file, and the steps that upgrade a file of an earlier release."""

from __future__ import annotations

from typing import Final

APPLICATION_ID: Final = 0x6D635073
"""Identifies the file in its header as one of this store."""

# Each step upgrades a file by one version; a new file runs through all of them. A released step never changes.
#
# sessions   One row for each session, with the columns that change with every turn, so that a turn rewrites one small
#            row. A ``key`` is not reused while anything of its former session is left. ``end_time`` is when the session
#            expires: ``expire_time``, or NULL while a turn has claimed it. ``claim`` is the id of that turn. ``shared``
#            is the number of messages that a fork shares with other sessions.
# contents   One row for each session, with what rarely changes and may be large. Lists read ``summary`` only.
# labels     One row for each label, in the order in which sessions are listed.
# messages   ``key`` is the key of the session times 2**32 plus the index of the message: a history is contiguous.
# segments   Which messages a fork shares: the session with the key ``writer`` wrote those from the previous ``stop`` up
#            to this ``stop``. They are kept as long as a segment refers to them, even when their writer is deleted.
# turns      ``session`` is the key of a session. ``owner`` is the owner of the lease, and empty without a lease, while
#            the turn is queued or running, and NULL afterwards.
# events     ``key`` is the key of the turn times 2**24 plus the number of the piece of its log.
# receipts   What calls with a request_id did that are not turns.
# removed    The keys of deleted sessions whose messages and turns are still to be collected as garbage. Messages that a
#            session has lost by a rewind, and that forks share, are those of a deleted session too.
# rewound    The keys of sessions that may have rows of messages beyond their ``message_count``, which are garbage too.
#
# ``creator`` is the id of the API key that created a session, and ``bytes`` the size of what it has written: messages,
# context and metadata. What forks share of a deleted session counts for one of them. Triggers keep the sums of both in
# ``totals``.
#
# totals     The number and the bytes of the sessions of each tenant and key.
# holds      What embedding requests may still use of limits; a turn is stored with its own hold. Empty when the file is
#            opened.
# usage      The ledger: what was used in an hour, by everything that can be asked for.
# spent      The sums of the ledger that limits need: by tenant, with an empty key, and by key.
# rates      Until when the limits per minute are used up.
# api_keys   The API keys, without their secrets.
# secrets    Random bytes that the server needs to recognise what it has issued.
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
    # A claim names a turn, which holds the lease. Claims of turns that have ended were void before, by their expiry.
    """
    UPDATE sessions SET claim_turn = NULL WHERE claim_turn IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM turns t WHERE t.tenant = sessions.tenant AND t.id = claim_turn AND t.owner IS NOT NULL
    );
    UPDATE sessions SET end_time = iif(claim_turn IS NULL, expire_time, NULL) WHERE claim_expire_time IS NOT NULL;
    ALTER TABLE sessions RENAME COLUMN claim_turn TO claim;
    ALTER TABLE sessions DROP COLUMN claim_owner;
    ALTER TABLE sessions DROP COLUMN claim_fence;
    ALTER TABLE sessions DROP COLUMN claim_expire_time;
    ALTER TABLE sessions DROP COLUMN fence;
    """,
    """
    ALTER TABLE sessions ADD COLUMN creator TEXT NOT NULL DEFAULT '';
    ALTER TABLE sessions ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE sessions ADD COLUMN tokens INTEGER NOT NULL DEFAULT 0;
    UPDATE sessions SET bytes = (SELECT length(summary) + length(content) FROM contents c WHERE c.key = sessions.key)
        + coalesce((SELECT sum(length(body)) FROM messages m WHERE m.key >= sessions.key << 32
            AND m.key < (sessions.key + 1) << 32), 0);
    UPDATE sessions SET tokens = bytes / 4;

    CREATE TABLE totals (
        tenant TEXT NOT NULL,
        creator TEXT NOT NULL,
        sessions INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        PRIMARY KEY (tenant, creator)
    ) WITHOUT ROWID;
    INSERT INTO totals SELECT tenant, creator, count(*), sum(bytes) FROM sessions GROUP BY tenant, creator;
    CREATE TRIGGER session_created AFTER INSERT ON sessions BEGIN
        INSERT INTO totals VALUES (new.tenant, new.creator, 1, new.bytes) ON CONFLICT DO UPDATE
            SET sessions = sessions + 1, bytes = bytes + excluded.bytes;
    END;
    CREATE TRIGGER session_grown AFTER UPDATE OF bytes ON sessions WHEN new.bytes != old.bytes BEGIN
        UPDATE totals SET bytes = bytes + new.bytes - old.bytes WHERE tenant = new.tenant AND creator = new.creator;
    END;
    CREATE TRIGGER session_deleted AFTER DELETE ON sessions BEGIN
        UPDATE totals SET sessions = sessions - 1, bytes = bytes - old.bytes
            WHERE tenant = old.tenant AND creator = old.creator;
        DELETE FROM totals WHERE tenant = old.tenant AND creator = old.creator AND sessions = 0;
    END;

    CREATE TABLE holds (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL,
        key TEXT NOT NULL,
        tokens INTEGER NOT NULL,
        cost_nanos INTEGER NOT NULL,
        currency TEXT NOT NULL,
        expire_time INTEGER NOT NULL,
        PRIMARY KEY (tenant, id)
    ) WITHOUT ROWID;

    CREATE TABLE usage (
        tenant TEXT NOT NULL,
        hour INTEGER NOT NULL,
        key TEXT NOT NULL,
        session TEXT NOT NULL,
        provider TEXT NOT NULL,
        model TEXT NOT NULL,
        labels TEXT NOT NULL,
        currency TEXT NOT NULL,
        turns INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        input_tokens INTEGER NOT NULL,
        cached_input_tokens INTEGER NOT NULL,
        cache_write_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        reasoning_tokens INTEGER NOT NULL,
        estimated INTEGER NOT NULL,
        cost_nanos INTEGER NOT NULL,
        PRIMARY KEY (tenant, hour, key, session, provider, model, labels, currency)
    ) WITHOUT ROWID;

    CREATE TABLE spent (
        tenant TEXT NOT NULL,
        key TEXT NOT NULL,
        hour INTEGER NOT NULL,
        currency TEXT NOT NULL,
        tokens INTEGER NOT NULL,
        cost_nanos INTEGER NOT NULL,
        PRIMARY KEY (tenant, key, hour, currency)
    ) WITHOUT ROWID;

    CREATE TABLE rates (
        tenant TEXT NOT NULL,
        key TEXT NOT NULL,
        name TEXT NOT NULL,
        time INTEGER NOT NULL,
        PRIMARY KEY (tenant, key, name)
    ) WITHOUT ROWID;

    CREATE TABLE api_keys (
        id TEXT PRIMARY KEY, tenant TEXT NOT NULL, create_time INTEGER NOT NULL, body BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX api_keys_by_age ON api_keys (tenant, create_time, id);

    CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    """,
    "CREATE TABLE rewound (session INTEGER PRIMARY KEY);",
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
    "rewound",
    "totals",
    "holds",
    "usage",
    "spent",
    "rates",
    "api_keys",
    "secrets",
)
"""The tables of this version."""
