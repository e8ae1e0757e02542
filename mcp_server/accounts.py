"""What tenants and their API keys may use, hold and have used: the use cases that keep the books."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Final

from mcp_server import quotas, rules
from mcp_server.booking import entries_of, settle_call
from mcp_server.errors import MCPError, NotAllowed, NotSupported, Violation
from mcp_server.interfaces import AccountStore, Change, LookUp, Store, Stored, UsageQuery
from mcp_server.principal import Principal
from mcp_server.quotas import Demand, Quota, quota_of
from mcp_server.settings.tables import Config, LimitSettings
from mcp_server.values import (
    HOUR,
    NO_LIMITS,
    Attempt,
    Clock,
    Hold,
    Limits,
    LimitState,
    Struct,
    UsageSum,
)

MAX_QUOTAS: Final = 10_000
"""The limits of how many callers are kept prepared."""
NANOS: Final = 1_000_000_000


def limits_of(settings: LimitSettings) -> Limits:
    """The limits of a profile in the settings."""

    def nanos(cost: float | None) -> int | None:
        return None if cost is None else round(cost * NANOS)

    costs = (settings.cost_per_day, settings.cost_per_month, settings.cost_per_window)
    return Limits(
        requests_per_minute=settings.requests_per_minute,
        request_burst=settings.request_burst,
        tokens_per_minute=settings.tokens_per_minute,
        token_burst=settings.token_burst,
        tokens_per_day=settings.tokens_per_day,
        tokens_per_month=settings.tokens_per_month,
        cost_nanos_per_day=nanos(settings.cost_per_day),
        cost_nanos_per_month=nanos(settings.cost_per_month),
        window=None if settings.window_hours is None else settings.window_hours * HOUR,
        tokens_per_window=settings.tokens_per_window,
        cost_nanos_per_window=nanos(settings.cost_per_window),
        currency=settings.currency if any(cost is not None for cost in costs) else "",
        concurrent_turns=settings.concurrent_turns,
        sessions=settings.sessions,
        stored_bytes=settings.stored_bytes,
    )


ALL_TENANTS: Final = "*"
"""Asks for the usage of all tenants."""


class UsageFilter(Struct):
    """Which usage to sum up. ``None`` does not restrict."""

    start: int | None = None
    """The beginning of the period, the first nanosecond of an hour."""
    end: int | None = None
    """The end of the period, which is not part of it, the first nanosecond of an hour."""
    tenant: str = ""
    """The tenant; empty: the caller's own; :data:`ALL_TENANTS`: all."""
    key: str | None = None
    """The id of an API key."""
    provider: str | None = None
    """The provider's configured name."""
    model: str | None = None
    """The provider's own name of the model."""
    session: str | None = None
    """The id of a session."""
    labels: Mapping[str, str] = {}
    """Labels that the calls had, all of them."""


class Accounts:
    """The limits and the usage of all callers.

    Args:
        store: an open store. Without accounts in it there are no limits and no usage.
        settings: the profiles of limits, the tenants that they bind, and how long an answer is assumed to be.
        clock: tells the time.
    """

    def __init__(self, store: Store, settings: Config, clock: Clock) -> None:
        self._store = store if isinstance(store, AccountStore) else None
        self._clock = clock
        self.configure(settings)

    def configure(self, settings: Config) -> None:
        """Use other limits from now on. Work that runs keeps its holds."""
        limits = {name: limits_of(profile) for name, profile in settings.limits.items()}
        self._tenants = {
            name: limits[tenant.limits] if tenant.limits else NO_LIMITS for name, tenant in settings.tenants.items()
        }
        self._default_output_tokens = settings.admission.default_output_tokens
        self._quotas: dict[tuple[str, str], tuple[Limits, Quota | None]] = {}

    def quota(self, principal: Principal) -> Quota | None:
        """The limits of a caller; ``None`` if there are none."""
        if self._store is None:
            return None
        tenant, key = principal.tenant, principal.key
        prepared = self._quotas.get((tenant, key))
        if prepared is not None and prepared[0] is principal.limits:
            return prepared[1]
        of_tenant = self._tenants.get(tenant) or self._tenants.get("*", NO_LIMITS)
        quota = quota_of(tenant, key, of_tenant, principal.limits, default_output_tokens=self._default_output_tokens)
        if len(self._quotas) >= MAX_QUOTAS:
            self._quotas.clear()
        self._quotas[tenant, key] = principal.limits, quota
        return quota

    async def hold(self, quota: Quota, demand: Demand) -> Hold:
        """Hold what an embedding request may use, until :meth:`settle`. Nothing is held for a caller that leaves
        meanwhile.

        Raises:
            QuotaExceeded: a limit does not allow it; nothing is taken.
        """
        taking = asyncio.ensure_future(self._take(quota, demand))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            await asyncio.shield(self._give_back(quota, taking))
            raise

    async def take_request(self, quota: Quota) -> None:
        """Count a call that generates nothing as a request.

        Raises:
            QuotaExceeded: the limit of requests does not allow it; nothing is taken.
        """
        assert self._store is not None

        def decide(stored: Stored) -> Change:
            now = self._clock() if stored.now is None else stored.now
            return quotas.take_request(quota, stored.accounts, now)

        look_up = LookUp(accounts=quotas.queries(quota, self._clock()))
        await self._store.change(quota.tenant, "", decide, look_up)

    async def _take(self, quota: Quota, demand: Demand) -> Hold:
        assert self._store is not None
        held: Hold | None = None

        def decide(stored: Stored) -> Change:
            nonlocal held
            now = self._clock() if stored.now is None else stored.now
            change, held = quotas.take(quota, stored.accounts, demand, now)
            return change

        look_up = LookUp(accounts=quotas.queries(quota, self._clock()))
        await self._store.change(quota.tenant, "", decide, look_up)
        assert held is not None
        return held

    async def _give_back(self, quota: Quota, taking: asyncio.Future[Hold]) -> None:
        """Release a hold whose caller has left while it was being written."""
        with contextlib.suppress(MCPError):  # it was not written
            change = settle_call(await taking, ())
            assert self._store is not None
            await self._store.change(quota.tenant, "", lambda _: change)

    async def settle(
        self,
        principal: Principal,
        hold: Hold | None,
        attempts: Sequence[Attempt],
        *,
        session: str,
        labels: Mapping[str, str],
    ) -> None:
        """Book what an embedding request has used, and release its hold."""
        if self._store is None or (hold is None and not attempts):
            return
        tenant = principal.tenant
        entries = entries_of(tenant, attempts, self._clock(), key=principal.key, session=session, labels=labels)
        change = settle_call(hold, entries)
        await self._store.change(tenant, "", lambda _: change)

    async def states(self, principal: Principal) -> Sequence[LimitState]:
        """Every limit of a caller, and what is left of it."""
        quota = self.quota(principal)
        if quota is None:
            return ()
        assert self._store is not None
        now = self._clock()
        look_up = LookUp(accounts=quotas.queries(quota, now, everything=True))
        changed = await self._store.change(quota.tenant, "", lambda _: Change(), look_up)
        return quotas.states(quota, changed.stored.accounts, now)

    async def query_usage(
        self,
        principal: Principal,
        usage: UsageFilter,
        *,
        group_by: Sequence[str] = (),
        limit: int,
        after: tuple[str, ...] | None = None,
        violations: Sequence[Violation] = (),
    ) -> Sequence[UsageSum]:
        """Up to ``limit`` sums of the usage that ``usage`` selects, by group, after the ``(*group, currency)`` of
        ``after``.

        Raises:
            NotAllowed: another tenant than the caller's own is asked for.
            NotSupported: the store keeps no usage.
        """
        found = rules.Violations()
        rules.usage_query(found, group_by, usage.start, usage.end)
        rules.labels(found, "filter.labels", usage.labels)
        rules.refuse(violations, found)
        tenant = usage.tenant or principal.tenant
        if tenant != principal.tenant and not principal.allows("operator"):
            raise NotAllowed("the usage of another tenant can only be read with the scope operator")
        if self._store is None:
            raise NotSupported("the store of this server keeps no usage", metadata={"method": "QueryUsage"})
        query = UsageQuery(
            tenant=None if tenant == ALL_TENANTS else tenant,
            start=usage.start,
            end=usage.end,
            group_by=tuple(group_by),
            key=usage.key,
            provider=usage.provider,
            model=usage.model,
            session=usage.session,
            labels=usage.labels,
            after=after,
            limit=limit,
        )
        return await self._store.usage(query)
