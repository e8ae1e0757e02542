"""The ledger: what calls to providers took and what they cost, one row for each call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from mcp_server.errors import (
    ContextTooLong,
    InvalidArgument,
    MCPError,
    ModelNotFound,
    ProviderRateLimited,
    ProviderRejected,
    ProviderUnavailable,
    UnsupportedByModel,
)
from mcp_server.models.attempt_log import attempt_failed
from mcp_server.models.target import Target
from mcp_server.settings.tables import PriceSettings
from mcp_server.token_estimates import BYTES_PER_TOKEN
from mcp_server.values import Attempt, Clock, TurnError, TurnState, Usage, elapsed, total_usage

replace = msgspec.structs.replace

_MAX_TOKENS: Final = 1 << 40
"""More than any call takes, and little enough to be added up and priced."""

_NOTHING_USED: Final = (
    ContextTooLong,
    InvalidArgument,
    ModelNotFound,
    ProviderRateLimited,
    ProviderRejected,
    ProviderUnavailable,
    UnsupportedByModel,
)
"""Errors of calls that a provider did not work on, if no piece of an answer came before."""


class Meter:
    """How much of one call's answer has come: counted by the reader of the answer."""

    __slots__ = ("bytes", "pieces", "started", "usage")

    def __init__(self) -> None:
        self.bytes = 0
        """The length of the answer in bytes of UTF-8."""
        self.pieces = 0
        """How many pieces have come."""
        self.started = False
        """Whether any of the answer was passed on to readers, an earlier part that this call goes on from included."""
        self.usage: Usage | None = None
        """What the provider reported, at the end of the answer."""

    def estimated_tokens(self) -> int:
        """About how many tokens have come: most providers send each alone, some send several in a piece."""
        return max(self.pieces, -(-self.bytes // BYTES_PER_TOKEN))


class Ledger:
    """The rows of one turn, or of one embedding request; the last may be of a call that still runs.

    Args:
        earlier: the rows of calls that other processes have made for the same turn.
        clock: tells the time.
        service: ``chat``, ``completion`` or ``embedding``, for the log.
        turn: the full name of the turn, for the log.
    """

    __slots__ = ("_clock", "_input_tokens", "_meter", "_price", "_service", "_turn", "present", "rows")

    def __init__(self, earlier: Sequence[Attempt], clock: Clock, *, service: str, turn: str = "") -> None:
        self.rows = tuple(earlier)
        """All rows, each as it was last updated."""
        self.present: Attempt | None = None
        """The row of the last call that this process has made."""
        self._clock = clock
        self._service = service
        self._turn = turn
        self._price: PriceSettings | None = None
        self._input_tokens = 0
        self._meter = Meter()

    def begin(self, target: Target, input_tokens: int, meter: Meter) -> Attempt:
        """Add the row of a call that begins.

        Args:
            target: the model that is called.
            input_tokens: the estimated length of the prompt.
            meter: counts the answer.
        """
        self._price, self._input_tokens, self._meter = target.price, input_tokens, meter
        row = attempt_at(target, self._clock())
        self.present = row
        self.rows = (*self.rows, row)
        return row

    def first_token(self) -> None:
        """Note when the first piece of the answer came."""
        row = self.rows[-1]
        self._put(replace(row, first_token_duration=elapsed(row.start_time, self._clock())))

    def update(self, outcome: TurnState = TurnState.RUNNING, error: MCPError | None = None) -> None:
        """Bring the last row up to date, unless its call has ended.

        Args:
            outcome: how the call ended, if it has.
            error: why it did not succeed.
        """
        row = self.present
        if row is None or row.outcome is not TurnState.RUNNING:
            return
        usage = self._usage(row, error)
        cost: dict[str, Any] = {}
        if (price := self._price) is not None:
            cost = {"cost_nanos": cost_nanos(usage, price), "currency": price.currency}
        row = replace(
            row,
            duration=elapsed(row.start_time, self._clock()),
            usage=usage,
            delivered_tokens=usage.output_tokens,
            outcome=outcome,
            error=error_record(error),
            **cost,
        )
        self._put(row)
        if outcome is TurnState.FAILED and error is not None:
            attempt_failed(row, service=self._service, turn=self._turn)

    def total(self) -> Usage:
        """What all calls took together."""
        return total_usage([row.usage for row in self.rows])

    def _put(self, row: Attempt) -> None:
        self.present = row
        self.rows = (*self.rows[:-1], row)

    def _usage(self, row: Attempt, error: MCPError | None) -> Usage:
        if self._meter.usage is not None:
            return self._meter.usage
        if isinstance(error, _NOTHING_USED) and row.first_token_duration is None:
            return Usage()
        return Usage(input_tokens=self._input_tokens, output_tokens=self._meter.estimated_tokens())


def checked_usage(usage: Usage) -> Usage:
    """The usage that a provider reports.

    Raises:
        ValueError: it cannot be true.
    """
    counts = (
        usage.input_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
    )
    if min(counts) < 0 or max(counts) > _MAX_TOKENS:
        raise ValueError(f"a provider reported {usage}")
    return usage


def attempt_at(target: Target, start: int) -> Attempt:
    """The row of a call that begins at the time ``start``."""
    return Attempt(provider=target.provider_name, model=target.model.name, start_time=start)


def cost_nanos(usage: Usage, price: PriceSettings) -> int:
    """What a call costs, in billionths of the price's currency."""
    cached = price.input if price.cached_input is None else price.cached_input
    written = price.input if price.cache_write is None else price.cache_write
    uncached = max(usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens, 0)
    millionths = (
        uncached * price.input
        + usage.cached_input_tokens * cached
        + usage.cache_write_tokens * written
        + usage.output_tokens * price.output
    )
    return round(millionths * 1_000)


def highest_costs(targets: Sequence[Target], input_tokens: int, output_tokens: int) -> tuple[tuple[str, int], ...]:
    """What a call with so many tokens costs with the dearest of the models, for each currency."""
    costs: dict[str, int] = {}
    usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
    for target in targets:
        if (price := target.price) is not None:
            costs[price.currency] = max(cost_nanos(usage, price), costs.get(price.currency, 0))
    return tuple(costs.items())


def error_record(error: MCPError | None) -> TurnError | None:
    """An error as turns and attempts keep it."""
    if error is None:
        return None
    return TurnError(reason=error.reason, message=error.message, metadata=dict(error.metadata))
