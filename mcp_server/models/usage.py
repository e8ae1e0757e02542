"""What a turn's calls to providers took and cost: a row for each."""

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
from mcp_server.models.target import Price, Target
from mcp_server.turns.answer import Answer
from mcp_server.values import (
    Attempt,
    Clock,
    TurnError,
    TurnState,
    Usage,
    UsageSource,
    elapsed,
)

replace = msgspec.structs.replace

_NOTHING_TAKEN: Final = (
    ContextTooLong,
    InvalidArgument,
    ModelNotFound,
    ProviderRateLimited,
    ProviderRejected,
    ProviderUnavailable,
    UnsupportedByModel,
)
"""How calls end that a provider has not worked on, if they have brought nothing."""


class Ledger:
    """The rows of one turn; the last may be of a call that still runs.

    Args:
        earlier: the rows of calls that other processes have made.
        clock: tells the time.
    """

    __slots__ = ("_clock", "_input_tokens", "_price", "present", "rows")

    def __init__(self, earlier: Sequence[Attempt], clock: Clock) -> None:
        self.rows = tuple(earlier)
        """All of them, as they were last written up."""
        self.present: Attempt | None = None
        """The last call that this process has made."""
        self._clock = clock
        self._price: Price | None = None
        self._input_tokens = 0

    def begin(self, target: Target, input_tokens: int) -> Attempt:
        """A call is made, whose prompt has about so many tokens."""
        self._price = target.price
        self._input_tokens = input_tokens
        row = Attempt(provider=target.provider_name, model=target.model.name, start_time=self._clock())
        self.present = row
        self.rows = (*self.rows, row)
        return row

    def first_token(self) -> None:
        """The first piece of its answer has come."""
        row = self.rows[-1]
        self._put(replace(row, first_token_duration=elapsed(row.start_time, self._clock())))

    def write_up(self, answer: Answer, outcome: TurnState = TurnState.RUNNING, error: MCPError | None = None) -> None:
        """Bring the last row up to date, unless its call has ended.

        Args:
            answer: what has come.
            outcome: how the call has ended, if it has.
            error: why it did not succeed.
        """
        row = self.present
        if row is None or row.outcome is not TurnState.RUNNING:
            return
        usage = self._usage(row, answer, error)
        cost: dict[str, Any] = {}
        if (price := self._price) is not None:
            cost = {"cost_nanos": price.nanos(usage), "currency": price.currency}
        self._put(
            replace(
                row,
                duration=elapsed(row.start_time, self._clock()),
                usage=usage,
                delivered_tokens=usage.output_tokens,
                outcome=outcome,
                error=told(error),
                **cost,
            )
        )

    def total(self) -> Usage:
        """What all calls took together."""
        if len(self.rows) == 1:
            return self.rows[0].usage
        usages = [row.usage for row in self.rows if row.usage != Usage()]
        reported = bool(usages) and all(usage.source is UsageSource.REPORTED for usage in usages)
        return Usage(
            input_tokens=sum(usage.input_tokens for usage in usages),
            cached_input_tokens=sum(usage.cached_input_tokens for usage in usages),
            cache_write_tokens=sum(usage.cache_write_tokens for usage in usages),
            output_tokens=sum(usage.output_tokens for usage in usages),
            reasoning_tokens=sum(usage.reasoning_tokens for usage in usages),
            source=UsageSource.REPORTED if reported else UsageSource.ESTIMATED,
        )

    def _put(self, row: Attempt) -> None:
        self.present = row
        self.rows = (*self.rows[:-1], row)

    def _usage(self, row: Attempt, answer: Answer, error: MCPError | None) -> Usage:
        if answer.finish is not None and answer.finish.usage is not None:
            return answer.finish.usage
        if isinstance(error, _NOTHING_TAKEN) and row.first_token_duration is None:
            return Usage()
        return Usage(input_tokens=self._input_tokens, output_tokens=answer.estimated_tokens())


def told(error: MCPError | None) -> TurnError | None:
    """The error as it is written down."""
    if error is None:
        return None
    return TurnError(reason=error.reason, message=error.message, metadata=dict(error.metadata))
