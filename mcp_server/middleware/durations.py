"""The durations of turns, as their callers see them: from the moment at which the server accepts the call."""

from __future__ import annotations

from mcp_server.values import Attempt, Turn, elapsed


def duration(turn: Turn) -> int:
    """Nanoseconds until the end of a turn that has ended."""
    return elapsed(turn.create_time, turn.end_time or turn.create_time)


def time_to_first_token(turn: Turn) -> int | None:
    """Nanoseconds until the first token of the answer; ``None`` if there was none."""
    for attempt in turn.attempts:
        if attempt.first_token_duration is not None:
            return elapsed(turn.create_time, attempt.start_time + attempt.first_token_duration)
    return None


def time_per_output_token(attempt: Attempt) -> float | None:
    """The mean of the nanoseconds between two tokens of a call's answer; ``None`` if fewer than two came.

    Computed from the record of the call, so that nothing has to be done for each token.
    """
    if attempt.first_token_duration is None or attempt.delivered_tokens < 2:
        return None
    return (attempt.duration - attempt.first_token_duration) / (attempt.delivered_tokens - 1)


def own_time(turn: Turn, now: int) -> int | None:
    """Nanoseconds that the server took for a turn before it called a provider and after the last call, until ``now``.

    ``None`` for turns that called no provider, or that waited for their session. Pauses between calls do not count.
    """
    if turn.waited or not turn.attempts:
        return None
    first, last = turn.attempts[0], turn.attempts[-1]
    return elapsed(turn.create_time, first.start_time) + elapsed(last.start_time + last.duration, now)
