"""Reads and writes what tenants and their API keys have used and hold."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from mcp_server.interfaces import Account, AccountQuery, Change, UsageQuery
from mcp_server.values import DAY, HOUR, Usage, UsageEntry, UsageSource, UsageSum

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
_ADD: Final = (
    "INSERT INTO usage (tenant, hour, key, session, provider, model, labels, currency, "
    + ", ".join(_SUMS)
    + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
    + ", ".join([f"{name} = {name} + excluded.{name}" for name in _SUMS])
)
_COLUMNS: Final = {
    **{name: name for name in ("tenant", "key", "provider", "model", "session")},
    "hour": "CAST(hour AS TEXT)",
    "day": f"CAST(hour - hour % {DAY} AS TEXT)",
}
"""What usage can be grouped by, as an expression."""


class AccountRows:
    """The tables of holds, usage and rates, within a transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._execute = connection.execute

    def read(self, tenant: str, query: AccountQuery) -> Account:
        """What a tenant or a key has used and holds."""
        key = query.key
        of_key, keyed = (" AND key = ?", (key,)) if key else ("", ())
        holds, held_tokens, held_cost = self._execute(
            "SELECT count(*), coalesce(sum(tokens), 0), coalesce(sum(iif(currency = ?, cost_nanos, 0)), 0) FROM holds"
            f" WHERE tenant = ? AND expire_time > ?{of_key}",
            (query.currency, tenant, query.now, *keyed),
        ).fetchone()
        tokens: list[int] = []
        costs: list[int] = []
        if query.since:
            columns = ["sum(iif(hour >= ?, tokens, 0)), sum(iif(hour >= ? AND currency = ?, cost_nanos, 0))"]
            row = self._execute(
                f"SELECT {', '.join(columns * len(query.since))} FROM spent WHERE tenant = ? AND key = ? AND hour >= ?",
                (
                    *[value for since in query.since for value in (since, since, query.currency)],
                    *(tenant, key, min(query.since)),
                ),
            ).fetchone()
            tokens, costs = [value or 0 for value in row[::2]], [value or 0 for value in row[1::2]]
        rates: dict[str, int] = {}
        if query.rates:
            rates = dict(
                self._execute("SELECT name, time FROM rates WHERE tenant = ? AND key = ?", (tenant, key)).fetchall()
            )
        sessions = stored_bytes = 0
        if query.stored:
            of_creator = " AND creator = ?" if key else ""
            sessions, stored_bytes = self._execute(
                f"SELECT coalesce(sum(sessions), 0), coalesce(sum(bytes), 0) FROM totals WHERE tenant = ?{of_creator}",
                (tenant, *keyed),
            ).fetchone()
        return Account(
            holds=holds,
            held_tokens=held_tokens,
            held_cost_nanos=held_cost,
            tokens=tuple(tokens),
            cost_nanos=tuple(costs),
            rates=tuple([rates.get(name, 0) for name in query.rates]),
            sessions=sessions,
            stored_bytes=stored_bytes,
        )

    def write(self, tenant: str, change: Change) -> None:
        """Carry out the part of a change that concerns accounts."""
        if (hold := change.hold) is not None:
            self._execute(
                "INSERT OR REPLACE INTO holds (tenant, id, key, tokens, cost_nanos, currency, expire_time)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (tenant, hold.id, hold.key, hold.tokens, hold.cost_nanos, hold.currency, hold.expire_time),
            )
        if change.release:
            self._execute("DELETE FROM holds WHERE tenant = ? AND id = ?", (tenant, change.release))
        for rate in change.rates:
            self._execute(
                "INSERT INTO rates (tenant, key, name, time) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
                " SET time = max(time, ?) + ?",
                (tenant, rate.key, rate.name, rate.floor + rate.advance, rate.floor, rate.advance),
            )
        for entry in change.book:
            self._book(entry)

    def _book(self, entry: UsageEntry) -> None:
        usage = entry.usage
        hour = entry.time - entry.time % HOUR
        labels = msgspec.json.encode(entry.labels, order="sorted").decode()
        self._execute(
            _ADD,
            (
                *(entry.tenant, hour, entry.key, entry.session, entry.provider, entry.model, labels, entry.currency),
                *(entry.turns, entry.attempts, usage.input_tokens, usage.cached_input_tokens),
                *(usage.cache_write_tokens, usage.output_tokens, usage.reasoning_tokens),
                *(int(usage.source is UsageSource.ESTIMATED and usage != Usage()), entry.cost_nanos),
            ),
        )
        tokens = usage.input_tokens + usage.output_tokens
        if not tokens and not entry.cost_nanos:
            return
        for key in {"", entry.key}:
            self._execute(
                "INSERT INTO spent (tenant, key, hour, currency, tokens, cost_nanos) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET tokens = tokens + excluded.tokens,"
                " cost_nanos = cost_nanos + excluded.cost_nanos",
                (entry.tenant, key, hour, entry.currency, tokens, entry.cost_nanos),
            )


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
