"""Reads and writes what tenants and their API keys have used and hold."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from mcp_server.interfaces import Account, AccountQuery, Change, UsageQuery
from mcp_server.stores.balances import Balances, Spent
from mcp_server.stores.holds import Holds
from mcp_server.values import DAY, HOUR, Hold, Usage, UsageEntry, UsageSource, UsageSum

_SUMS: Final = (
    "turns",
    "attempts",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "estimated",
    "cost_nanos",
)
"""The columns of the ledger that are added up."""
_BOOK: Final = (
    "INSERT INTO usage (tenant, hour, key, session, provider, model, labels, currency, "
    + ", ".join(_SUMS)
    + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
    + ", ".join([f"{name} = {name} + excluded.{name}" for name in _SUMS])
)
_SPEND: Final = (
    "INSERT INTO spent (tenant, key, hour, currency, tokens, cost_nanos) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET tokens = tokens + excluded.tokens, cost_nanos = cost_nanos + excluded.cost_nanos"
)
_USE: Final = (
    "INSERT INTO rates (tenant, key, name, time) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET time = excluded.time"
)
_MAX_BALANCES: Final = 10_000
"""How many tenants and keys have their balances in memory."""
_COLUMNS: Final = {
    **{name: name for name in ("tenant", "key", "provider", "model", "session")},
    "hour": "CAST(hour AS TEXT)",
    "day": f"CAST(hour - hour % {DAY} AS TEXT)",
}
"""What usage can be grouped by, as an expression."""


class AccountRows:
    """What tenants and keys have used and hold, within a transaction.

    Limits are checked against sums in memory. What a transaction adds is collected, and written by :meth:`flush` before
    it is committed: once for each row, however many turns of the batch add to it.

    Args:
        connection: the one that writes.
        holds: the holds of this process. They do not outlive it, and a turn is stored with its own.
    """

    def __init__(self, connection: sqlite3.Connection, holds: Holds) -> None:
        self._execute = connection.execute
        self._execute_many = connection.executemany
        self._holds = holds
        self._balances = Balances(self._read_rates, self._read_spent, limit=_MAX_BALANCES)
        self._usage: dict[tuple[Any, ...], tuple[int, ...]] = {}
        self._spent: dict[tuple[Any, ...], tuple[int, ...]] = {}
        self._rates: dict[tuple[str, str, str], int] = {}

    def read(self, tenant: str, query: AccountQuery) -> Account:
        """What a tenant or a key has used and holds."""
        key = query.key
        holds, held_tokens, held_cost = self._holds.sums(tenant, key, query.currency, query.now)
        spent = self._balances.spent(tenant, query)
        rates = self._balances.rates(tenant, key) if query.rates else {}
        sessions = stored_bytes = 0
        if query.stored:
            of_creator, keyed = (" AND creator = ?", (key,)) if key else ("", ())
            sessions, stored_bytes = self._execute(
                f"SELECT coalesce(sum(sessions), 0), coalesce(sum(bytes), 0) FROM totals WHERE tenant = ?{of_creator}",
                (tenant, *keyed),
            ).fetchone()
        return Account(
            holds=holds,
            held_tokens=held_tokens,
            held_cost_nanos=held_cost,
            tokens=tuple(spent.tokens),
            cost_nanos=tuple(spent.cost_nanos),
            rates=tuple([rates.get(name, 0) for name in query.rates]),
            sessions=sessions,
            stored_bytes=stored_bytes,
        )

    def write(self, tenant: str, change: Change) -> None:
        """Carry out the part of a change that concerns accounts."""
        if (hold := change.hold) is not None:
            self._holds.put(hold)
            if change.turn is None:
                self._store_hold(hold)
        if change.release:
            self._holds.release(tenant, change.release)
            if change.turn is None:
                self._execute("DELETE FROM holds WHERE tenant = ? AND id = ?", (tenant, change.release))
        for rate in change.rates:
            self._rates[tenant, rate.key, rate.name] = self._balances.use(tenant, rate)
        for entry in change.book:
            self._book(entry)

    def flush(self) -> None:
        """Write what was collected since the transaction began."""
        if self._usage:
            self._execute_many(_BOOK, [(*row, *sums) for row, sums in self._usage.items()])
            self._usage.clear()
        if self._spent:
            self._execute_many(_SPEND, [(*row, *sums) for row, sums in self._spent.items()])
            self._spent.clear()
        if self._rates:
            self._execute_many(_USE, [(*row, time) for row, time in self._rates.items()])
            self._rates.clear()

    def keep(self) -> None:
        """The transaction was committed."""
        self._holds.keep()

    def undo(self) -> None:
        """The transaction was rolled back: forget what it has changed, except the balances (:meth:`clear_cache`)."""
        self._holds.undo()
        self._usage.clear()
        self._spent.clear()
        self._rates.clear()

    def clear_cache(self) -> None:
        """Read the balances again: a rollback or another program has changed the file."""
        self._balances.clear()

    def _store_hold(self, hold: Hold) -> None:
        """Write the hold of an embedding request, which has no turn: where nothing can be written, such a request is
        refused before it costs anything, since its end could not be booked."""
        self._execute(
            "INSERT OR REPLACE INTO holds (tenant, id, key, tokens, cost_nanos, currency, expire_time)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (hold.tenant, hold.id, hold.key, hold.tokens, hold.cost_nanos, hold.currency, hold.expire_time),
        )

    def _book(self, entry: UsageEntry) -> None:
        usage, hour = entry.usage, entry.time - entry.time % HOUR
        tokens = usage.input_tokens + usage.output_tokens
        sums = (
            *(entry.turns, entry.attempts, usage.input_tokens, usage.cached_input_tokens),
            *(usage.cache_write_tokens, usage.output_tokens, usage.reasoning_tokens),
            *(int(usage.source is UsageSource.ESTIMATED and usage != Usage()), entry.cost_nanos),
        )
        labels = msgspec.json.encode(entry.labels, order="sorted").decode() if entry.labels else "{}"
        row = entry.tenant, hour, entry.key, entry.session, entry.provider, entry.model, labels, entry.currency
        _add(self._usage, row, sums)
        if not tokens and not entry.cost_nanos:
            return
        for key in ("", entry.key) if entry.key else ("",):
            _add(self._spent, (entry.tenant, key, hour, entry.currency), (tokens, entry.cost_nanos))
        self._balances.book(entry)

    def _read_rates(self, tenant: str, key: str) -> dict[str, int]:
        self.flush()
        return dict(self._execute("SELECT name, time FROM rates WHERE tenant = ? AND key = ?", (tenant, key)))

    def _read_spent(self, tenant: str, query: AccountQuery) -> Spent:
        self.flush()
        columns = ["sum(iif(hour >= ?, tokens, 0)), sum(iif(hour >= ? AND currency = ?, cost_nanos, 0))"]
        row = self._execute(
            f"SELECT {', '.join(columns * len(query.since))} FROM spent WHERE tenant = ? AND key = ? AND hour >= ?",
            (
                *[value for since in query.since for value in (since, since, query.currency)],
                *(tenant, query.key, min(query.since)),
            ),
        ).fetchone()
        sums = [value or 0 for value in row]
        return Spent(sums[::2], sums[1::2])


def _add(rows: dict[tuple[Any, ...], tuple[int, ...]], row: tuple[Any, ...], sums: tuple[int, ...]) -> None:
    """Add numbers to those of a row."""
    found = rows.get(row)
    rows[row] = sums if found is None else tuple([a + b for a, b in zip(found, sums, strict=True)])


def usage_sums(connection: sqlite3.Connection, query: UsageQuery) -> Sequence[UsageSum]:
    """Sums of the ledger by group, in the order of the groups."""
    groups: list[str] = []
    values: list[Any] = []
    for name in query.group_by:
        if name.startswith("label:"):
            groups.append("coalesce(json_extract(labels, ?), '')")
            values.append(_path(name.removeprefix("label:")))
        else:
            groups.append(_COLUMNS[name])
    conditions, bound = _conditions(query)
    names = [*[f"g{number}" for number in range(len(groups))], "currency"]
    selected = [f"{group} AS {name}" for group, name in zip(groups, names, strict=False)]
    sums = [f"sum({name})" for name in _SUMS]
    statement = (
        f"SELECT * FROM (SELECT {', '.join([*selected, 'currency', *sums])} FROM usage WHERE {conditions}"
        f" GROUP BY {', '.join(names)})"
    )
    values += bound
    if query.after is not None:
        statement += f" WHERE ({', '.join(names)}) > ({', '.join('?' * len(names))})"
        values += query.after
    rows = connection.execute(f"{statement} ORDER BY {', '.join(names)} LIMIT ?", (*values, query.limit))
    return [_sum(row, len(groups)) for row in rows]


def _conditions(query: UsageQuery) -> tuple[str, list[Any]]:
    conditions, values = ["TRUE"], list[Any]()
    for column in ("tenant", "key", "provider", "model", "session"):
        if (value := getattr(query, column)) is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    for comparison, time in (("hour >= ?", query.start), ("hour < ?", query.end)):
        if time is not None:
            conditions.append(comparison)
            values.append(time)
    for name, value in query.labels.items():
        conditions.append("json_extract(labels, ?) = ?")
        values += [_path(name), value]
    return " AND ".join(conditions), values


def _path(label: str) -> str:
    """The path of a label in the column ``labels``. Names of labels have no quotes."""
    return f'$."{label}"'


def _sum(row: tuple[Any, ...], groups: int) -> UsageSum:
    currency = row[groups]
    turns, attempts, input_tokens, cached, cache_write, output, reasoning, estimated, cost = row[groups + 1 :]
    return UsageSum(
        group=tuple(row[:groups]),
        turns=turns,
        attempts=attempts,
        usage=Usage(
            input_tokens=input_tokens,
            cached_input_tokens=cached,
            cache_write_tokens=cache_write,
            output_tokens=output,
            reasoning_tokens=reasoning,
            source=UsageSource.REPORTED if input_tokens + output and not estimated else UsageSource.ESTIMATED,
        ),
        cost_nanos=cost,
        currency=currency,
    )
