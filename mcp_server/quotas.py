"""Limits of tenants and API keys: whether a call is allowed, and what it takes. Pure functions.

They run inside the store's atomic step: all limits are checked, then all of them are taken, or none. A *hold* is what
work may still use at most. It counts as used until the work has ended; :mod:`mcp_server.booking` releases it then.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

import msgspec

from mcp_server.booking import MAX_AHEAD, MINUTE
from mcp_server.errors import QuotaExceeded
from mcp_server.interfaces import Account, AccountQuery, Change, RateUse
from mcp_server.values import (
    DAY,
    HOUR,
    NO_LIMITS,
    SECOND,
    Hold,
    Limits,
    LimitState,
    Struct,
)

replace = msgspec.structs.replace

HOLD_GRACE: Final = MINUTE
"""How long after its timeout the hold of a turn is void, if it was never released."""
SOON: Final = SECOND
"""When a call may try again that only has to wait for others to end."""


class Quota(Struct):
    """Who is limited, and how."""

    tenant: str
    """The tenant."""
    key: str = ""
    """The id of the API key, or empty."""
    of_tenant: Limits = NO_LIMITS
    """The limits of the tenant."""
    of_key: Limits = NO_LIMITS
    """The limits of the key."""
    default_output_tokens: int = 4096
    """How many tokens a call holds for its answer if it does not limit it."""

    def subjects(self) -> Sequence[tuple[str, Limits]]:
        """Whom the limits bind, and the limits: the tenant under an empty key, then the key."""
        both = (("", self.of_tenant), (self.key, self.of_key))
        return [(key, limits) for key, limits in both if limits is not NO_LIMITS and limits != NO_LIMITS]


class Demand(Struct):
    """What a call may use at most."""

    id: str
    """The id of the hold."""
    tokens: int
    """The tokens of the prompt and the answer."""
    costs: tuple[tuple[str, int], ...] = ()
    """What they cost with the dearest model of each currency, in billionths."""
    timeout: int = 0
    """How long it may take, in nanoseconds."""

    def cost(self, currency: str) -> int:
        """The highest cost in that currency."""
        return dict(self.costs).get(currency, 0)


def queries(
    quota: Quota | None, now: int, *, stored: bool = False, everything: bool = False
) -> tuple[AccountQuery, ...]:
    """What has to be read to decide on a call.

    Args:
        quota: the limits of the caller.
        now: the present time.
        stored: whether to read about sessions and bytes alone.
        everything: whether to read what :func:`states` needs.
    """
    if quota is None:
        return ()
    return tuple(
        [
            AccountQuery(key=key, now=now, stored=True)
            if stored
            else AccountQuery(
                key=key,
                now=now,
                since=tuple([start for start, _ in _periods(limits, now).values()]),
                currency=limits.currency,
                rates=_rate_names(limits),
                stored=everything or limits.stored_bytes is not None,
            )
            for key, limits in quota.subjects()
        ]
    )


def take(quota: Quota, accounts: Sequence[Account], demand: Demand, now: int) -> tuple[Change, Hold]:
    """What a call takes, as a change, and its hold, which is part of it.

    Raises:
        QuotaExceeded: a limit does not allow it; nothing is taken.
    """
    for (key, limits), account in zip(quota.subjects(), accounts, strict=True):
        subject = _subject(quota, key)
        _refuse(
            chain(_checks(subject, limits, account, demand, now), _stored(subject, limits, account, sessions=0)), now
        )
    currencies = [limits.currency for _, limits in quota.subjects() if limits.currency]
    currency = max(currencies, key=demand.cost, default="")
    rates: list[RateUse] = []
    token_rates: dict[str, int] = {}
    for key, limits in quota.subjects():
        if limits.requests_per_minute is not None:
            rates.append(_use("requests", key, 1, limits.requests_per_minute, now))
        if limits.tokens_per_minute is not None:
            rates.append(_use("tokens", key, demand.tokens, limits.tokens_per_minute, now))
            token_rates[key] = limits.tokens_per_minute
    hold = Hold(
        id=demand.id,
        tenant=quota.tenant,
        key=quota.key,
        tokens=demand.tokens,
        cost_nanos=demand.cost(currency),
        currency=currency,
        token_rates=token_rates,
        expire_time=now + demand.timeout + HOLD_GRACE,
    )
    return Change(hold=hold, rates=tuple(rates)), hold


def count_replay(quota: Quota, accounts: Sequence[Account], now: int) -> Change:
    """What a call takes that finds its work done or running: it counts as a request.

    It is never refused. One that the limit does not allow takes nothing, so that replays cannot use up what has not
    come yet: the other keys of a tenant would have to wait for it.
    """
    rates: list[RateUse] = []
    for (key, limits), account in zip(quota.subjects(), accounts, strict=True):
        per_minute = limits.requests_per_minute
        if per_minute is not None:
            burst = limits.request_burst or per_minute
            used_until = account.rates[0]  # the first of _rate_names
            if not _rate("", "", per_minute, burst, used_until, 1, now).exceeded:
                rates.append(_use("requests", key, 1, per_minute, now))
    return Change(rates=tuple(rates))


def check_stored(quota: Quota, accounts: Sequence[Account], *, new_session: bool) -> None:
    """Refuse to store more than is allowed.

    Raises:
        QuotaExceeded: the limit of sessions or of stored bytes is reached.
    """
    for (key, limits), account in zip(quota.subjects(), accounts, strict=True):
        _refuse(_stored(_subject(quota, key), limits, account, sessions=int(new_session)))


def states(quota: Quota, accounts: Sequence[Account], now: int) -> Sequence[LimitState]:
    """Every limit, and what is left of it."""
    nothing = Demand(id="", tokens=0)
    found: list[LimitState] = []
    for (key, limits), account in zip(quota.subjects(), accounts, strict=True):
        subject = _subject(quota, key)
        checks = [*_checks(subject, limits, account, nothing, now), *_stored(subject, limits, account, sessions=0)]
        found += [
            LimitState(
                subject=check.subject,
                limit=check.limit,
                allowed=check.allowed,
                used=check.used,
                reset_time=check.reset_time,
            )
            for check in checks
        ]
    return found


# -- checks -----------------------------------------------------------------------------------------------------------


class _Check(Struct):
    """One limit, and whether it allows what is asked."""

    subject: str
    limit: str
    allowed: int
    used: int
    exceeded: bool
    reset_time: int | None = None
    """When more becomes available."""


def _checks(subject: str, limits: Limits, account: Account, demand: Demand, now: int) -> Iterator[_Check]:
    """The limits of one subject on work."""
    rates = iter(account.rates)
    if limits.requests_per_minute is not None:
        burst = limits.request_burst or limits.requests_per_minute
        asked = int(bool(demand.id))
        yield _rate(subject, "requests_per_minute", limits.requests_per_minute, burst, next(rates), asked, now)
    if limits.tokens_per_minute is not None:
        burst = limits.token_burst or limits.tokens_per_minute
        yield _rate(subject, "tokens_per_minute", limits.tokens_per_minute, burst, next(rates), demand.tokens, now)
    if limits.concurrent_turns is not None:
        yield _amount(subject, "concurrent_turns", limits.concurrent_turns, account.holds, int(bool(demand.id)))
    cost = demand.cost(limits.currency)
    periods = _periods(limits, now)
    for index, (name, (_, reset_time)) in enumerate(periods.items()):
        tokens, costs = getattr(limits, f"tokens_per_{name}"), getattr(limits, f"cost_nanos_per_{name}")
        if tokens is not None:
            used = account.tokens[index] + account.held_tokens
            yield _amount(subject, f"tokens_per_{name}", tokens, used, demand.tokens, reset_time)
        if costs is not None:
            used = account.cost_nanos[index] + account.held_cost_nanos
            yield _amount(subject, f"cost_nanos_per_{name}", costs, used, cost, reset_time)


def _stored(subject: str, limits: Limits, account: Account, *, sessions: int) -> Iterator[_Check]:
    """The limits of one subject on what is stored."""
    if limits.sessions is not None:
        yield _amount(subject, "sessions", limits.sessions, account.sessions, sessions)
    if limits.stored_bytes is not None:
        exceeded = account.stored_bytes >= limits.stored_bytes
        yield _Check(
            subject=subject,
            limit="stored_bytes",
            allowed=limits.stored_bytes,
            used=account.stored_bytes,
            exceeded=exceeded,
        )


def _amount(subject: str, limit: str, allowed: int, used: int, asked: int, reset_time: int | None = None) -> _Check:
    return _Check(
        subject=subject,
        limit=limit,
        allowed=allowed,
        used=used,
        exceeded=bool(asked) and used + asked > allowed,
        reset_time=reset_time if asked <= allowed else None,
    )


def _rate(subject: str, limit: str, per_minute: int, burst: int, used_until: int, asked: int, now: int) -> _Check:
    """A limit per minute, by the generic cell rate algorithm: each unit uses up its share of a minute."""
    ahead = max(used_until - now, 0)
    allowed = min(burst * MINUTE // per_minute, MAX_AHEAD)
    share = asked * MINUTE // per_minute
    wait = ahead + share - allowed
    if asked:
        reset_time = None if asked > burst or share > allowed else now + max(wait, 0)
    else:
        reset_time = now + ahead if ahead else None
    return _Check(
        subject=subject,
        limit=limit,
        allowed=burst,
        used=-(-ahead * per_minute // MINUTE),
        exceeded=bool(asked) and wait > 0,
        reset_time=reset_time,
    )


def _refuse(checks: Iterator[_Check], now: int = 0) -> None:
    """Refuse a call for the limit that takes longest to allow it.

    Raises:
        QuotaExceeded: a limit is exceeded.
    """
    exceeded = [check for check in checks if check.exceeded]
    if not exceeded:
        return
    worst = max(exceeded, key=lambda check: math.inf if check.reset_time is None else check.reset_time)
    retry_after = None
    if worst.limit == "concurrent_turns":
        retry_after, advice = SOON / SECOND, "wait until other calls have ended"
    elif worst.reset_time is None:
        advice = "use less, or ask for a higher limit"
    else:
        retry_after = max(worst.reset_time - now, 0) / SECOND
        advice = f"more is available in {math.ceil(retry_after)} s"
    raise QuotaExceeded(
        f"the limit {worst.limit} of {worst.subject} does not allow this call: {worst.used} of {worst.allowed} are "
        f"used or held; {advice}",
        metadata={"limit": worst.limit, "subject": worst.subject},
        retry_after=retry_after,
    )


def _subject(quota: Quota, key: str) -> str:
    return f"keys/{key}" if key else f"tenants/{quota.tenant}"


def _use(name: str, key: str, amount: int, per_minute: int, now: int) -> RateUse:
    return RateUse(name=name, key=key, floor=now, advance=amount * MINUTE // per_minute)


def _rate_names(limits: Limits) -> tuple[str, ...]:
    requests = ("requests",) if limits.requests_per_minute is not None else ()
    return (*requests, "tokens") if limits.tokens_per_minute is not None else requests


def _periods(limits: Limits, now: int) -> dict[str, tuple[int, int]]:
    """The periods that are limited: when each began, and when more becomes available."""
    periods: dict[str, tuple[int, int]] = {}
    if limits.tokens_per_day is not None or limits.cost_nanos_per_day is not None:
        start = now - now % DAY
        periods["day"] = start, start + DAY
    if limits.tokens_per_month is not None or limits.cost_nanos_per_month is not None:
        first = dt.datetime.fromtimestamp(now // SECOND, dt.UTC).replace(day=1, hour=0, minute=0, second=0)
        following = (first + dt.timedelta(days=32)).replace(day=1)
        periods["month"] = int(first.timestamp()) * SECOND, int(following.timestamp()) * SECOND
    if limits.window is not None and (limits.tokens_per_window, limits.cost_nanos_per_window) != (None, None):
        # The ledger knows hours: the one in which the window begins counts as a whole.
        hour = now - now % HOUR
        periods["window"] = hour - limits.window, hour + HOUR
    return periods
