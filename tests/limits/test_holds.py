"""Holds of embedding requests whose callers leave while they are being written."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from mcp_server.accounts import Accounts
from mcp_server.errors import StoreUnavailable
from mcp_server.interfaces import NO_LOOK_UP, AccountQuery, Change, Changed, Decide, LookUp
from mcp_server.quotas import Demand, Quota, quota_of
from mcp_server.settings import testing_config as settings
from mcp_server.stores.memory import MemoryStore
from mcp_server.testing import Gate
from mcp_server.values import NO_LIMITS, SECOND, Limits

DEMAND = Demand(id="e1", tokens=60, timeout=SECOND)
NOW = 1_800_000_000 * SECOND


class SlowStore(MemoryStore):
    """A store whose first change stops at a gate, before or after it is written, and then may fail."""

    def __init__(self, *, written: bool, fails: bool = False) -> None:
        super().__init__()
        self.gate: Gate | None = Gate()
        self._written = written
        self._fails = fails

    async def change(self, tenant: str, session: str, decide: Decide, /, look_up: LookUp = NO_LOOK_UP) -> Changed:
        gate, self.gate = self.gate, None
        if gate is None:
            return await super().change(tenant, session, decide, look_up)
        if self._written:
            changed = await super().change(tenant, session, decide, look_up)
        await gate.passed()
        if self._fails:
            raise StoreUnavailable("the disk is full")
        return changed if self._written else await super().change(tenant, session, decide, look_up)


def one_at_a_time() -> Quota:
    """The limits of the caller."""
    quota = quota_of("t", "", Limits(concurrent_turns=1, tokens_per_minute=60), NO_LIMITS)
    assert quota is not None
    return quota


async def taken(store: MemoryStore) -> tuple[int, Any]:
    """How many holds there are, and until when the rate is used up."""
    query = AccountQuery(now=NOW, rates=("tokens",))
    (account,) = (await store.change("t", "", lambda _: Change(), LookUp(accounts=(query,)))).stored.accounts
    return account.holds, account.rates


@pytest.mark.parametrize("written", [False, True])
async def test_nothing_is_held_for_a_caller_that_leaves_during_the_write(written: bool) -> None:
    """The store finishes what it has begun; then the hold and its tokens are given back."""
    store = SlowStore(written=written)
    await store.open()
    gate = store.gate
    assert gate is not None
    accounts = Accounts(store, settings(), lambda: NOW)
    holding = asyncio.create_task(accounts.hold(one_at_a_time(), DEMAND))
    await gate.reached.wait()
    holding.cancel()
    gate.open()
    with pytest.raises(asyncio.CancelledError):
        await holding
    assert await taken(store) == (0, (NOW,))
    await accounts.hold(one_at_a_time(), msgspec.structs.replace(DEMAND, id="e2"))


async def test_a_caller_that_leaves_a_failing_store_stays_cancelled() -> None:
    """There is nothing to give back."""
    store = SlowStore(written=False, fails=True)
    await store.open()
    gate = store.gate
    assert gate is not None
    holding = asyncio.create_task(Accounts(store, settings(), lambda: NOW).hold(one_at_a_time(), DEMAND))
    await gate.reached.wait()
    holding.cancel()
    gate.open()
    with pytest.raises(asyncio.CancelledError):
        await holding
    assert await taken(store) == (0, (0,))
