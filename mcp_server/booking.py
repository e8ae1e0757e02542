"""The end of work: what it has used is booked in the usage ledger, and its hold is released. Pure functions.

Both happen in the step of the store that ends the work, however it ends, and therefore exactly once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mcp_server.interfaces import Change, RateUse
from mcp_server.values import FINAL, MAX_AHEAD, MINUTE, Attempt, Hold, Turn, UsageEntry, total_usage

replace = msgspec.structs.replace


def settle(change: Change, turn: Turn, now: int) -> Change:
    """Add to the change that ends a turn what the turn has used, and release its hold.

    Args:
        change: the rest of the change, in which the turn is written as :func:`settled`.
        turn: the turn as it ends.
        now: the present time.
    """
    attempts = turn.attempts[turn.booked :]
    entries = entries_of(turn.tenant, attempts, now, key=turn.key, session=turn.session, labels=turn.labels)
    if turn.state in FINAL:
        entries = _with_turn(entries, turn, now)
    return replace(change, book=entries, **_released(turn.hold, entries))


def settled(turn: Turn) -> Turn:
    """A turn that ends, as it is stored."""
    return replace(turn, hold=None, booked=len(turn.attempts), lease=None)


def settle_call(hold: Hold | None, entries: tuple[UsageEntry, ...]) -> Change:
    """What the end of an embedding request writes."""
    return Change(book=entries, **_released(hold, entries))


def entries_of(
    tenant: str, attempts: Sequence[Attempt], now: int, *, key: str, session: str, labels: Mapping[str, str]
) -> tuple[UsageEntry, ...]:
    """The entries of the usage ledger for calls to providers: one for each model and currency."""
    groups: dict[tuple[str, str, str], list[Attempt]] = {}
    for attempt in attempts:
        groups.setdefault(_model(attempt), []).append(attempt)
    return tuple(
        [
            UsageEntry(
                tenant=tenant,
                time=now,
                key=key,
                session=session,
                labels=labels,
                provider=provider,
                model=model,
                attempts=len(group),
                usage=total_usage([attempt.usage for attempt in group]),
                cost_nanos=sum([attempt.cost_nanos for attempt in group]),
                currency=currency,
            )
            for (provider, model, currency), group in groups.items()
        ]
    )


def _with_turn(entries: tuple[UsageEntry, ...], turn: Turn, now: int) -> tuple[UsageEntry, ...]:
    """The entries, of which that of the last model counts the turn."""
    model = _model(turn.attempts[-1]) if turn.attempts else ("", "", "")
    if not entries:
        provider, name, currency = model
        ended = UsageEntry(
            tenant=turn.tenant,
            time=now,
            key=turn.key,
            session=turn.session,
            labels=turn.labels,
            provider=provider,
            model=name,
            currency=currency,
            turns=1,
        )
        return (ended,)
    return tuple([replace(entry, turns=1) if _model(entry) == model else entry for entry in entries])


def _model(row: Attempt | UsageEntry) -> tuple[str, str, str]:
    return row.provider, row.model, row.currency


def _released(hold: Hold | None, entries: Sequence[UsageEntry]) -> dict[str, Any]:
    """What a change writes to release a hold: the part of the rates that was not used is given back."""
    if hold is None:
        return {}
    if not hold.token_rates:
        return {"release": hold.id}
    unused = hold.tokens
    for entry in entries:
        unused -= entry.usage.input_tokens + entry.usage.output_tokens
    rates = [
        RateUse(name="tokens", key=key, advance=min(-unused * MINUTE // per_minute, MAX_AHEAD))
        for key, per_minute in hold.token_rates.items()
    ]
    return {"release": hold.id, "rates": tuple(rates)}
