"""The durations of turns, as their callers see them: from the moment at which the server accepts the call."""

from __future__ import annotations

from mcp_server.values import Turn, elapsed


def duration(turn: Turn) -> int:
    """Nanoseconds until the end of a turn that has ended."""
    return elapsed(turn.create_time, turn.end_time or turn.create_time)


def time_to_first_token(turn: Turn) -> int | None:
    """Nanoseconds until the first token of the answer; ``None`` if there was none."""
    for attempt in turn.attempts:
        if attempt.first_token_duration is not None:
            return elapsed(turn.create_time, attempt.start_time + attempt.first_token_duration)
    return None


def milliseconds(nanoseconds: int) -> float:
    """Milliseconds, with three decimal places."""
    return nanoseconds // 1000 / 1000
