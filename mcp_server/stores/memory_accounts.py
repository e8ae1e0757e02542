"""What tenants and their API keys have used and hold, in plain dictionaries: a part of the memory store."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Sequence

import msgspec

from mcp_server.interfaces import Account, AccountQuery, Change, UsageQuery
from mcp_server.stores.balances import Balances, Spent
from mcp_server.stores.holds import Holds
from mcp_server.values import DAY, HOUR, Key, Usage, UsageEntry, UsageSum, total_usage

replace = msgspec.structs.replace


class MemoryAccounts:
    """Keys, the usage ledger, holds and rates."""

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {}
        """The API keys, by id."""
        self._holds = Holds()
        self._balances = Balances(lambda _tenant, _key: {}, self._spent)
        self._ledger: defaultdict[str, dict[tuple[object, ...], UsageEntry]] = defaultdict(dict)
        self._secrets: defaultdict[str, bytes] = defaultdict(lambda: secrets.token_bytes(32))

    def clear(self) -> None:
        """Forget everything."""
        self.keys.clear()
        self._holds.clear()
        self._balances.clear()
        self._ledger.clear()
        self._secrets.clear()

    def read(self, tenant: str, query: AccountQuery) -> Account:
        """What a tenant or a key has used and holds, except its sessions."""
        holds, held_tokens, held_cost = self._holds.sums(tenant, query.key, query.currency, query.now)
        spent = self._balances.spent(tenant, query)
        rates = self._balances.rates(tenant, query.key) if query.rates else {}
        return Account(
            holds=holds,
            held_tokens=held_tokens,
            held_cost_nanos=held_cost,
            tokens=tuple(spent.tokens),
            cost_nanos=tuple(spent.cost_nanos),
            rates=tuple([rates.get(name, 0) for name in query.rates]),
        )

    def _spent(self, tenant: str, query: AccountQuery) -> Spent:
        entries = [entry for entry in self._ledger[tenant].values() if query.key in ("", entry.key)]
        periods = [[entry for entry in entries if entry.time >= since] for since in query.since]
        return Spent(
            [sum([_tokens(entry.usage) for entry in period]) for period in periods],
            [sum([entry.cost_nanos for entry in period if entry.currency == query.currency]) for period in periods],
        )

    def write(self, tenant: str, change: Change) -> None:
        """Carry out the part of a change that concerns accounts."""
        if change.hold is not None:
            self._holds.put(change.hold)
        if change.release:
            self._holds.release(tenant, change.release)
        self._holds.keep()
        for rate in change.rates:
            self._balances.use(tenant, rate)
        for entry in change.book:
            self._balances.book(entry)
            entry = replace(entry, time=entry.time - entry.time % HOUR)
            labels = tuple(sorted(entry.labels.items()))
            row = entry.time, entry.key, entry.session, entry.provider, entry.model, labels, entry.currency
            earlier = self._ledger[tenant].get(row)
            self._ledger[tenant][row] = entry if earlier is None else _added(earlier, entry)

    def usage(self, query: UsageQuery) -> Sequence[UsageSum]:
        """Sums of the ledger by group, in the order of the groups."""
        sums: dict[tuple[str, ...], UsageEntry] = {}
        ledgers = self._ledger.values() if query.tenant is None else [self._ledger[query.tenant]]
        for ledger in ledgers:
            for entry in ledger.values():
                if _matches(entry, query):
                    group = (*[_group(entry, name) for name in query.group_by], entry.currency)
                    earlier = sums.get(group)
                    sums[group] = entry if earlier is None else _added(earlier, entry)
        groups = sorted([group for group in sums if query.after is None or group > query.after])
        return [
            UsageSum(
                group=group[:-1],
                turns=(entry := sums[group]).turns,
                attempts=entry.attempts,
                usage=entry.usage,
                cost_nanos=entry.cost_nanos,
                currency=entry.currency,
            )
            for group in groups[: query.limit]
        ]

    def secret(self, name: str) -> bytes:
        """The secret of that name, made at the first call."""
        return self._secrets[name]


def _tokens(usage: Usage) -> int:
    return usage.input_tokens + usage.output_tokens


def _added(first: UsageEntry, second: UsageEntry) -> UsageEntry:
    """The first entry with the numbers of both."""
    return replace(
        first,
        turns=first.turns + second.turns,
        attempts=first.attempts + second.attempts,
        cost_nanos=first.cost_nanos + second.cost_nanos,
        usage=total_usage([first.usage, second.usage]),
    )


def _matches(entry: UsageEntry, query: UsageQuery) -> bool:
    return (
        all(getattr(query, field) in (None, getattr(entry, field)) for field in ("key", "provider", "model", "session"))
        and (query.start is None or entry.time >= query.start)
        and (query.end is None or entry.time < query.end)
        and query.labels.items() <= entry.labels.items()
    )


def _group(entry: UsageEntry, name: str) -> str:
    if name.startswith("label:"):
        return entry.labels.get(name.removeprefix("label:"), "")
    if name == "hour":
        return str(entry.time)
    if name == "day":
        return str(entry.time - entry.time % DAY)
    value: str = getattr(entry, name)
    return value
