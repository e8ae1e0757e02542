"""What tenants and their API keys have used, added up in memory, so that a limit is checked without reading rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from mcp_server.interfaces import AccountQuery, RateUse
from mcp_server.values import UsageEntry

_MAX_SUMS: Final = 8
"""How many sums are kept of an account: callers ask for the same one until the next period begins."""


class Spent:
    """What was used in each of some periods.

    Attributes:
        tokens: the tokens of each.
        cost_nanos: the costs of each in one currency.
    """

    __slots__ = ("cost_nanos", "tokens")

    def __init__(self, tokens: Sequence[int], cost_nanos: Sequence[int]) -> None:
        self.tokens = list(tokens)
        self.cost_nanos = list(cost_nanos)


_NOTHING: Final = Spent((), ())


class Balance:
    """What a tenant or one of its keys has used.

    Attributes:
        rates: the times up to which its rates are used up, by name.
        spent: what it has used, by the beginnings of the periods that were asked for and the currency of the costs.
    """

    __slots__ = ("rates", "spent")

    def __init__(self, rates: dict[str, int]) -> None:
        self.rates = rates
        self.spent: dict[tuple[tuple[int, ...], str], Spent] = {}


class Balances:
    """The balances of tenants and keys. They are correct as long as every change is made here too.

    Args:
        read_rates: reads the rates of a tenant or a key from the store.
        read_spent: reads what it has used in the periods of a query.
        limit: how many balances are kept; ``None``: all.
    """

    def __init__(
        self,
        read_rates: Callable[[str, str], dict[str, int]],
        read_spent: Callable[[str, AccountQuery], Spent],
        limit: int | None = None,
    ) -> None:
        self._read_rates = read_rates
        self._read_spent = read_spent
        self._limit = limit
        self._balances: dict[tuple[str, str], Balance] = {}

    def rates(self, tenant: str, key: str) -> dict[str, int]:
        """The rates of a tenant, with an empty ``key``, or of one of its keys."""
        return self._balance(tenant, key).rates

    def spent(self, tenant: str, query: AccountQuery) -> Spent:
        """What it has used in the periods of the query."""
        if not query.since:
            return _NOTHING
        sums = self._balance(tenant, query.key).spent
        periods = query.since, query.currency
        found = sums.get(periods)
        if found is None:
            found = self._read_spent(tenant, query)
            if len(sums) >= _MAX_SUMS:
                sums.clear()
            sums[periods] = found
        return found

    def use(self, tenant: str, rate: RateUse) -> int:
        """Use up a rate, and return the time up to which it is now."""
        rates = self._balance(tenant, rate.key).rates
        rates[rate.name] = time = max(rates.get(rate.name, 0), rate.floor) + rate.advance
        return time

    def book(self, entry: UsageEntry) -> None:
        """Add an entry of the ledger."""
        tokens = entry.usage.input_tokens + entry.usage.output_tokens
        for key in ("", entry.key) if entry.key else ("",):
            balance = self._balances.get((entry.tenant, key))
            if balance is None:
                continue  # it will be read
            for (starts, currency), spent in balance.spent.items():
                for index, start in enumerate(starts):
                    if entry.time >= start:
                        spent.tokens[index] += tokens
                        if entry.currency == currency:
                            spent.cost_nanos[index] += entry.cost_nanos

    def clear(self) -> None:
        """Forget all of them: they are read again."""
        self._balances.clear()

    def _balance(self, tenant: str, key: str) -> Balance:
        index = tenant, key
        balance = self._balances.get(index)
        if balance is None:
            rates = self._read_rates(tenant, key)
            if len(self._balances) == self._limit:
                del self._balances[next(iter(self._balances))]
            balance = self._balances[index] = Balance(rates)
        return balance
