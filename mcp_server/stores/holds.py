"""The holds of all tenants, in memory, and their sums: a part of every store that belongs to one process."""

from __future__ import annotations

import sys
from typing import Final

from mcp_server.values import Hold

_NEVER: Final = sys.maxsize


class Held:
    """The sums of the holds of a tenant, or of one of its keys.

    Attributes:
        count: how many there are.
        tokens: the tokens of all of them.
        costs: their costs, by currency.
        expire_time: none of them is void before.
    """

    __slots__ = ("costs", "count", "expire_time", "tokens")

    def __init__(self) -> None:
        self.count = 0
        self.tokens = 0
        self.costs: dict[str, int] = {}
        self.expire_time = _NEVER

    def add(self, hold: Hold, times: int) -> None:
        """Add a hold; ``times`` is -1 to subtract it."""
        self.count += times
        self.tokens += times * hold.tokens
        if hold.cost_nanos:
            self.costs[hold.currency] = self.costs.get(hold.currency, 0) + times * hold.cost_nanos
        if times > 0 and hold.expire_time < self.expire_time:
            self.expire_time = hold.expire_time


class Holds:
    """The holds of all tenants, and of their keys. What was changed since :meth:`keep` can be undone."""

    def __init__(self) -> None:
        self._holds: dict[str, dict[str, Hold]] = {}
        self._held: dict[tuple[str, str], Held] = {}
        self._undo: list[tuple[str, str, Hold | None]] = []

    def sums(self, tenant: str, key: str, currency: str, now: int) -> tuple[int, int, int]:
        """The number of holds of a tenant, with an empty ``key``, or of one of its keys, their tokens, and their costs
        in that currency. Those that are void by then are left out."""
        held = self._held.get((tenant, key))
        if held is None:
            return 0, 0, 0
        if now >= held.expire_time:
            holds = [hold for hold in self._holds[tenant].values() if key in ("", hold.key)]
            held.expire_time = min([hold.expire_time for hold in holds])
            if now >= held.expire_time:
                held = Held()
                for hold in holds:
                    if hold.expire_time > now:
                        held.add(hold, 1)
        return held.count, held.tokens, held.costs.get(currency, 0)

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
        self._holds.clear()
        self._held.clear()
        self._undo.clear()

    def _set(self, tenant: str, id: str, new: Hold | None) -> Hold | None:
        """Replace a hold, and return the one before."""
        holds = self._holds.get(tenant)
        if holds is None:
            if new is None:
                return None
            holds = self._holds[tenant] = {}
        old = holds.pop(id, None)
        if old is not None:
            self._add(tenant, old, -1)
        if new is not None:
            holds[id] = new
            self._add(tenant, new, 1)
        elif not holds:
            del self._holds[tenant]
        return old

    def _add(self, tenant: str, hold: Hold, times: int) -> None:
        for key in ("", hold.key) if hold.key else ("",):
            index = tenant, key
            held = self._held.get(index)
            if held is None:
                held = self._held[index] = Held()
            held.add(hold, times)
            if not held.count:
                del self._held[index]
