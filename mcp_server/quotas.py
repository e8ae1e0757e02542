"""Limits of tenants and API keys: whether a call is allowed, and what it takes. Pure functions.

They run inside the store's atomic step: all limits are checked, then all of them are taken, or none. A *hold* is what
work may still use at most. It counts as used until the work has ended; :mod:`mcp_server.booking` releases it then.
"""

from __future__ import annotations

import datetime as dt
import enum
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Final

from mcp_server.errors import QuotaExceeded
from mcp_server.interfaces import Account, AccountQuery, Change, RateUse
from mcp_server.values import (
    DAY,
    HOUR,
    MAX_AHEAD,
    MINUTE,
    NO_LIMITS,
    SECOND,
    Hold,
    Limits,
    LimitState,
    Struct,
)

HOLD_GRACE: Final = MINUTE
"""How long after its timeout the hold of a turn is void, if it was never released."""
SOON: Final = SECOND
"""When a call may try again that only has to wait for others to end."""


class Kind(enum.Enum):
    """What a limit counts."""

    REQUESTS = enum.auto()
    """Calls per minute."""
    TOKEN_RATE = enum.auto()
    """Tokens per minute."""
    TURNS = enum.auto()
    """Work at a time."""
    TOKENS = enum.auto()
    """Tokens in a period."""
    COST = enum.auto()
    """Money in a period."""
    SESSIONS = enum.auto()
    """Sessions that exist."""
    BYTES = enum.auto()
    """Bytes that are stored."""


RATES: Final = (Kind.REQUESTS, Kind.TOKEN_RATE)
"""Those that count per minute."""
_TOKEN_RATE: Final = Kind.TOKEN_RATE  # a member of an enumeration is slow to look up, and every call does


class Limit(Struct):
    """One limit of one subject."""

    name: str
    """The field of :class:`~mcp_server.values.Limits`."""
    kind: Kind
    """What it counts."""
    allowed: int
    """The most that is allowed; of a rate at once after a pause."""
    index: int = 0
    """The place of its rate or its period among those that are read of the subject."""
    rate: str = ""
    """Of a rate: its name."""
    per_minute: int = 1
    """Of a rate."""
    burst: int = 0
    """Of a rate: how far ahead of the present time it may be used up, in nanoseconds."""


class Subject(Struct):
    """Whom limits bind: a tenant or an API key."""

    name: str
    """``tenants/{tenant}`` or ``keys/{key}``."""
    key: str
    """The id of the key, or empty."""
    limits: tuple[Limit, ...]
    """The limits."""
    per_minute: tuple[Limit, ...]
    """Those of requests and tokens per minute."""
    tokens: tuple[Limit, ...]
    """Those of tokens in a period."""
    costs: tuple[Limit, ...]
    """Those of costs in a period."""
    counts: tuple[Limit, ...]
    """Those that a call has to find room in, whatever it uses: work at a time, stored bytes."""
    rates: tuple[str, ...]
    """The names of the rates among them."""
    periods: tuple[str, ...]
    """The periods among them: ``day``, ``month``, ``window``."""
    window: int
    """The length of the rolling window in nanoseconds."""
    currency: str
    """The currency of the costs, or empty."""
    stored: bool
    """Whether stored bytes are limited."""


class Quota(Struct):
    """The limits of a caller, prepared for many calls."""

    tenant: str
    """The tenant."""
    key: str = ""
    """The id of the API key, or empty."""
    subjects: tuple[Subject, ...] = ()
    """Whom the limits bind: the tenant, the key."""
    default_output_tokens: int = 4096
    """How many tokens a call holds for its answer if it does not limit it."""


def quota_of(
    tenant: str, key: str, of_tenant: Limits, of_key: Limits, *, default_output_tokens: int = 4096
) -> Quota | None:
    """The limits of a caller; ``None`` if there are none."""
    both = ((f"tenants/{tenant}", "", of_tenant), (f"keys/{key}", key, of_key))
    subjects = [_subject(name, id, limits) for name, id, limits in both if limits != NO_LIMITS]
    if not subjects:
        return None
    return Quota(tenant=tenant, key=key, subjects=tuple(subjects), default_output_tokens=default_output_tokens)


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
        return dict(self.costs).get(currency, 0) if currency else 0


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
    if stored:
        return tuple([AccountQuery(key=subject.key, now=now, stored=True) for subject in quota.subjects])
    return tuple(
        [
            AccountQuery(
                key=subject.key,
                now=now,
                since=_starts(subject.periods, subject.window, now // HOUR),
                currency=subject.currency,
                rates=subject.rates,
                stored=everything or subject.stored,
            )
            for subject in quota.subjects
        ]
    )


def take(quota: Quota, accounts: Sequence[Account], demand: Demand, now: int) -> tuple[Change, Hold]:
    """What a call takes, as a change, and its hold, which is part of it.

    Raises:
        QuotaExceeded: a limit does not allow it; nothing is taken.
    """
    rates: list[RateUse] = []
    token_rates: dict[str, int] = {}
    cost, currency = 0, ""
    for subject, account in zip(quota.subjects, accounts, strict=True):
        subject_cost = demand.cost(subject.currency)
        if subject_cost > cost:
            cost, currency = subject_cost, subject.currency
        key, allowed = subject.key, True
        for limit in subject.per_minute:
            per_minute = limit.per_minute
            asked = 1
            if limit.kind is _TOKEN_RATE:
                asked = demand.tokens
                token_rates[key] = per_minute
            advance = asked * MINUTE // per_minute
            rates.append(RateUse(name=limit.rate, key=key, floor=now, advance=advance))
            if max(account.rates[limit.index] - now, 0) + advance > limit.burst:
                allowed = False
        if not allowed or not _has_room(subject, account, demand.tokens, subject_cost):
            raise _refusal(_exceeded(subject, account, demand.tokens, subject_cost, now), now)
    hold = Hold(
        id=demand.id,
        tenant=quota.tenant,
        key=quota.key,
        tokens=demand.tokens,
        cost_nanos=cost,
        currency=currency,
        token_rates=token_rates,
        expire_time=now + demand.timeout + HOLD_GRACE,
    )
    return Change(hold=hold, rates=tuple(rates)), hold


def take_request(quota: Quota, accounts: Sequence[Account], now: int) -> Change:
    """What a call takes that generates nothing: one request.

    Raises:
        QuotaExceeded: the limit of requests does not allow it; nothing is taken.
    """
    rates: list[RateUse] = []
    exceeded: list[LimitState] = []
    for subject, account, limit in _request_rates(quota, accounts):
        rates.append(_request(subject, limit, now))
        if _wait(limit, account, 1, now) > 0:
            exceeded.append(_state(subject, limit, account, now, 1))
    if exceeded:
        raise _refusal(exceeded, now)
    return Change(rates=tuple(rates))


def count_replay(quota: Quota, accounts: Sequence[Account], now: int) -> Change:
    """What a call takes that finds its work done or running: it counts as a request.

    It is never refused. One that the limit does not allow takes nothing, so that replays cannot use up what has not
    come yet: the other keys of a tenant would have to wait for it.
    """
    return Change(
        rates=tuple(
            [
                _request(subject, limit, now)
                for subject, account, limit in _request_rates(quota, accounts)
                if _wait(limit, account, 1, now) <= 0
            ]
        )
    )


def _request_rates(quota: Quota, accounts: Sequence[Account]) -> Iterator[tuple[Subject, Account, Limit]]:
    for subject, account in zip(quota.subjects, accounts, strict=True):
        for limit in subject.per_minute:
            if limit.kind is Kind.REQUESTS:
                yield subject, account, limit


def _request(subject: Subject, limit: Limit, now: int) -> RateUse:
    return RateUse(name=limit.rate, key=subject.key, floor=now, advance=MINUTE // limit.per_minute)


def check_stored(quota: Quota, accounts: Sequence[Account], *, new_session: bool) -> None:
    """Refuse to store more than is allowed.

    Raises:
        QuotaExceeded: the limit of sessions or of stored bytes is reached.
    """
    for subject, account in zip(quota.subjects, accounts, strict=True):
        states = [
            _state(subject, limit, account, 0)
            for limit in subject.limits
            if limit.kind is Kind.BYTES or (new_session and limit.kind is Kind.SESSIONS)
        ]
        if exceeded := [state for state in states if not state.remaining]:
            raise _refusal(exceeded, 0)


def states(quota: Quota, accounts: Sequence[Account], now: int) -> Sequence[LimitState]:
    """Every limit, and what is left of it."""
    return [
        _state(subject, limit, account, now)
        for subject, account in zip(quota.subjects, accounts, strict=True)
        for limit in subject.limits
    ]


# -- preparation ------------------------------------------------------------------------------------------------------


def _subject(name: str, key: str, limits: Limits) -> Subject:
    found: list[Limit] = []
    rates: list[str] = []
    periods: list[str] = []
    for rate, kind, field, burst in (
        ("requests", Kind.REQUESTS, "requests_per_minute", limits.request_burst),
        ("tokens", Kind.TOKEN_RATE, "tokens_per_minute", limits.token_burst),
    ):
        if per_minute := getattr(limits, field):
            allowed = burst or per_minute
            found.append(
                Limit(
                    name=field,
                    kind=kind,
                    allowed=allowed,
                    index=len(rates),
                    rate=rate,
                    per_minute=per_minute,
                    burst=min(allowed * MINUTE // per_minute, MAX_AHEAD),
                )
            )
            rates.append(rate)
    if limits.concurrent_turns is not None:
        found.append(Limit(name="concurrent_turns", kind=Kind.TURNS, allowed=limits.concurrent_turns))
    for period in ("day", "month", "window"):
        if period == "window" and limits.window is None:
            continue
        for prefix, kind in (("tokens", Kind.TOKENS), ("cost_nanos", Kind.COST)):
            field = f"{prefix}_per_{period}"
            if (allowed := getattr(limits, field)) is not None:
                if period not in periods:
                    periods.append(period)
                found.append(Limit(name=field, kind=kind, allowed=allowed, index=len(periods) - 1))
    for field, kind in (("sessions", Kind.SESSIONS), ("stored_bytes", Kind.BYTES)):
        if (allowed := getattr(limits, field)) is not None:
            found.append(Limit(name=field, kind=kind, allowed=allowed))

    def of(*kinds: Kind) -> tuple[Limit, ...]:
        return tuple([limit for limit in found if limit.kind in kinds])

    return Subject(
        name=name,
        key=key,
        limits=tuple(found),
        per_minute=of(*RATES),
        tokens=of(Kind.TOKENS),
        costs=of(Kind.COST),
        counts=of(Kind.TURNS, Kind.BYTES),
        rates=tuple(rates),
        periods=tuple(periods),
        window=limits.window or 0,
        currency=limits.currency,
        stored=limits.stored_bytes is not None,
    )


def _period(name: str, window: int, now: int) -> tuple[int, int]:
    """When a period began, and when more becomes available."""
    if name == "day":
        start = now - now % DAY
        return start, start + DAY
    if name == "month":
        return _month(now // DAY)
    # The ledger knows hours: the one in which the window begins counts as a whole.
    hour = now - now % HOUR
    return hour - window, hour + HOUR


@functools.lru_cache(maxsize=1024)
def _starts(periods: Sequence[str], window: int, hour: int) -> tuple[int, ...]:
    """When the periods began that an hour is in, by its number since the Unix epoch."""
    return tuple([_period(name, window, hour * HOUR)[0] for name in periods])


@functools.lru_cache(maxsize=8)
def _month(day: int) -> tuple[int, int]:
    """The beginning and the end of the month (UTC) of a day, by the number of days since the Unix epoch."""
    first = dt.datetime.fromtimestamp(day * DAY // SECOND, dt.UTC).replace(day=1)
    following = (first + dt.timedelta(days=32)).replace(day=1)
    return int(first.timestamp()) * SECOND, int(following.timestamp()) * SECOND


def _wait(limit: Limit, account: Account, asked: int, now: int) -> int:
    """How long until a rate allows ``asked``, in nanoseconds; not positive if it does. Each unit uses up its share of a
    minute, by the generic cell rate algorithm."""
    ahead = max(account.rates[limit.index] - now, 0)
    return ahead + asked * MINUTE // limit.per_minute - limit.burst


def _used(limit: Limit, account: Account) -> int:
    """What is used and held of a limit that is not a rate."""
    kind = limit.kind
    if kind is Kind.TOKENS:
        return account.tokens[limit.index] + account.held_tokens
    if kind is Kind.COST:
        return account.cost_nanos[limit.index] + account.held_cost_nanos
    if kind is Kind.TURNS:
        return account.holds
    return account.sessions if kind is Kind.SESSIONS else account.stored_bytes


def _has_room(subject: Subject, account: Account, tokens: int, cost: int) -> bool:
    """Whether the limits that are not rates allow a call."""
    if tokens:
        tokens += account.held_tokens
        for limit in subject.tokens:
            if account.tokens[limit.index] + tokens > limit.allowed:
                return False
    if cost:
        cost += account.held_cost_nanos
        for limit in subject.costs:
            if account.cost_nanos[limit.index] + cost > limit.allowed:
                return False
    return all(_used(limit, account) < limit.allowed for limit in subject.counts)


# -- what is said of limits -------------------------------------------------------------------------------------------


def _state(subject: Subject, limit: Limit, account: Account, now: int, asked: int = 0) -> LimitState:
    """A limit, what is used and held of it, and when ``asked`` becomes available; that is never if it is too much."""
    reset_time: int | None = None
    if limit.kind in RATES:
        ahead = max(account.rates[limit.index] - now, 0)
        used = -(-ahead * limit.per_minute // MINUTE)
        if asked:
            wait = _wait(limit, account, asked, now)
            reset_time = now + wait if wait <= ahead else None  # a longer wait: it is more than a burst
        elif ahead:
            reset_time = now + ahead
    else:
        used = _used(limit, account)
        if limit.kind is Kind.TOKENS or limit.kind is Kind.COST:
            reset_time = _period(subject.periods[limit.index], subject.window, now)[1]
    if asked > limit.allowed:
        reset_time = None
    return LimitState(subject=subject.name, limit=limit.name, allowed=limit.allowed, used=used, reset_time=reset_time)


def _exceeded(subject: Subject, account: Account, tokens: int, cost: int, now: int) -> list[LimitState]:
    """The limits of a subject that do not allow a call."""
    exceeded: list[LimitState] = []
    for limit in subject.limits:
        kind = limit.kind
        if kind is Kind.SESSIONS:
            continue
        asked = tokens if kind in (Kind.TOKEN_RATE, Kind.TOKENS) else cost if kind is Kind.COST else 1
        if kind in RATES:
            refuses = _wait(limit, account, asked, now) > 0
        else:
            refuses = asked > 0 and _used(limit, account) + asked > limit.allowed
        if refuses:
            exceeded.append(_state(subject, limit, account, now, asked))
    return exceeded


def _refusal(exceeded: Sequence[LimitState], now: int) -> QuotaExceeded:
    """The error of a call that limits do not allow: it names the one that takes longest to allow it."""
    worst = max(exceeded, key=lambda state: math.inf if state.reset_time is None else state.reset_time)
    retry_after = None
    if worst.limit == "concurrent_turns":
        retry_after, advice = SOON / SECOND, "wait until other calls have ended"
    elif worst.reset_time is None:
        advice = "use less, or ask for a higher limit"
    else:
        retry_after = max(worst.reset_time - now, 0) / SECOND
        advice = f"more is available in {math.ceil(retry_after)} s"
    return QuotaExceeded(
        f"the limit {worst.limit} of {worst.subject} does not allow this call: {worst.used} of {worst.allowed} are "
        f"used or held; {advice}",
        metadata={"limit": worst.limit, "subject": worst.subject},
        retry_after=retry_after,
    )
