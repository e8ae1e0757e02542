"""The holds of all tenants, in memory, and their sums: a part of every store that belongs to one process."""

from __future__ import annotations

import sys
from typing import Final

from mcp_server.values import Hold

_NEVER: Final = sys.maxsize


class Held:
    """The holds of a tenant, or of one of its keys, added up.

    Attributes:
        holds: the holds, by id.
        tokens: the tokens of all of them.
        costs: their costs, by currency.
        expire_time: none of them is void before.
    """

    __slots__ = ("costs", "expire_time", "holds", "tokens")

    def __init__(self) -> None:
        self.holds: dict[str, Hold] = {}
        self.tokens = 0
        self.costs: dict[str, int] = {}
        self.expire_time = _NEVER

    def add(self, hold: Hold) -> None:
        """Add a hold that is not among them."""
        self.holds[hold.id] = hold
        self.tokens += hold.tokens
        if hold.cost_nanos:
            self.costs[hold.currency] = self.costs.get(hold.currency, 0) + hold.cost_nanos
        if hold.expire_time < self.expire_time:
            self.expire_time = hold.expire_time

    def remove(self, hold: Hold) -> None:
        """Remove one of them."""
        del self.holds[hold.id]
        self.tokens -= hold.tokens
        if hold.cost_nanos:
            self.costs[hold.currency] -= hold.cost_nanos

    def sums(self, currency: str, now: int) -> tuple[int, int, int]:
        """The number of holds that are not void at that time, their tokens, and their costs in that currency."""
        if now < self.expire_time:
            return len(self.holds), self.tokens, self.costs.get(currency, 0)
        self.expire_time = min([hold.expire_time for hold in self.holds.values()], default=_NEVER)
        if now < self.expire_time:
            return self.sums(currency, now)
        valid = [hold for hold in self.holds.values() if hold.expire_time > now]
        costs = [hold.cost_nanos for hold in valid if hold.currency == currency]
        return len(valid), sum([hold.tokens for hold in valid]), sum(costs)


_NOTHING: Final = Held()


class Holds:
    """The holds of all tenants, and of their keys. What was changed since :meth:`keep` can be undone."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], Held] = {}
        self._undo: list[tuple[str, str, Hold | None]] = []

    def sums(self, tenant: str, key: str, currency: str, now: int) -> tuple[int, int, int]:
        """Those of a tenant, with an empty ``key``, or of one of its keys, as :meth:`Held.sums`."""
        return self._held.get((tenant, key), _NOTHING).sums(currency, now)

    def put(self, hold: Hold) -> None:
        """Create or replace a hold."""
        self._undo.append((hold.tenant, hold.id, self._set(hold.tenant, hold.id, hold)))

    def release(self, tenant: str, id: str) -> None:
        """Delete a hold, if it is there."""
        old = self._set(tenant, id, None)
        if old is not None:
            self._undo.append((tenant, id, old))

    def keep(self) -> None:
        """Make all changes final."""
        self._undo.clear()

    def undo(self) -> None:
        """Undo all changes since :meth:`keep`."""
        while self._undo:
            self._set(*self._undo.pop())

    def clear(self) -> None:
        """Forget all holds."""
        self._held.clear()
        self._undo.clear()

    def _set(self, tenant: str, id: str, new: Hold | None) -> Hold | None:
        """Replace a hold, and return the one before."""
        of_tenant = self._held.get((tenant, ""))
        old = None if of_tenant is None else of_tenant.holds.get(id)
        if old is not None:
            for key in {"", old.key}:
                held = self._held[tenant, key]
                held.remove(old)
                if not held.holds:
                    del self._held[tenant, key]
        if new is not None:
            for key in {"", new.key}:
                index = tenant, key
                if (held := self._held.get(index)) is None:
                    held = self._held[index] = Held()
                held.add(new)
        return old
