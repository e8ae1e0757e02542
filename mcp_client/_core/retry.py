"""Decides whether and when a failed call is retried."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mcp_client._core.arguments import argument
from mcp_client.errors import RETRYABLE, MCPError, TurnInterrupted

FIRST_CONTACT: Final = 2.0
"""How long a server that has never answered is retried, in seconds: most likely the address is wrong."""

RESUME_WAIT: Final = 5.0
"""How long a watcher waits for the original caller to resume an interrupted turn, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How long a client retries calls to a server that is unreachable, restarting or overloaded.

    The delays are random, up to a limit that doubles with each attempt (exponential back-off with full jitter). A delay
    that the server asks for is added. The ``timeout`` of a call includes all of its attempts.
    """

    patience: float = 60.0
    """How long a call is retried, in seconds, from its first failure since it last made progress. A server that has
    never answered this client gets two seconds. The default is longer than a drain and a restart of the server."""
    initial_delay: float = 0.1
    """The limit of the first delay, in seconds."""
    max_delay: float = 2.0
    """The limit of all delays, in seconds, unless the server asks for a longer one."""

    def __post_init__(self) -> None:
        for name in ("patience", "initial_delay", "max_delay"):
            with argument(name):
                if not getattr(self, name) > 0:
                    raise ValueError(f"expected a positive number of seconds, not {getattr(self, name)!r}")


DEFAULT_RETRY: Final = Retry()


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryNotice:
    """A call has failed and is about to be retried."""

    method: str
    """For example ``ChatService.StreamChat``."""
    attempt: int
    """The number of the next attempt: 2 is the first retry."""
    delay: float
    """The time until the next attempt, in seconds."""
    error: MCPError
    """Why the last attempt failed."""
    sequence: int
    """The last event of the turn that was received; the next attempt continues after it. 0: none."""


OnRetry = Callable[[RetryNotice], None]


class RetryPolicy:
    """The retry policy of a client.

    Args:
        retry: the limits; ``None``: no retries.
        on_retry: called before each delay.

    Attributes:
        reached: whether the server has answered any call of the client.
    """

    def __init__(self, retry: Retry | None, on_retry: OnRetry | None) -> None:
        if not isinstance(retry, Retry | None):
            raise TypeError(f"retry: expected a Retry or None, not {retry!r}")
        self.retry = retry
        self.on_retry = on_retry
        self.reached = False


class Attempts:
    """The attempts of one call.

    Args:
        policy: of the client.
        method: ``Service.Method``.
        timeout: the total time of all attempts from now, in seconds; ``None``: no limit.
        idempotent: whether the request may be sent more than once.
        sequence: the last event of the turn that the caller has already received.
    """

    def __init__(
        self, policy: RetryPolicy, method: str, *, timeout: float | None, idempotent: bool = True, sequence: int = 0
    ) -> None:
        self._policy = policy
        self._method = method
        self._idempotent = idempotent
        self._began = time.monotonic()
        self._deadline = None if timeout is None else self._began + timeout
        self._sequence = sequence
        self._attempt = 1
        self._failing_since: float | None = None
        self._failed_before = False
        self._interrupted_since: float | None = None
        self._over = False

    def begin(self) -> float | None:
        """Start an attempt, and return its timeout in seconds."""
        self._began = time.monotonic()
        return None if self._deadline is None else self._deadline - self._began

    def succeeded(self) -> None:
        """Record that the server has answered."""
        self._policy.reached = True

    def retry_delay(self, error: MCPError, sequence: int = 0) -> float:
        """Return the delay before the next attempt in seconds, or raise ``error`` if the call is not retried.

        Args:
            error: why the attempt failed.
            sequence: the last event that was received.
        """
        retry, now = self._policy.retry, time.monotonic()
        progress = sequence > self._sequence
        if progress or error.reason or now - self._began > FIRST_CONTACT:
            self._policy.reached = True
        if retry is None or self._over or not self._is_retryable(error):
            self._over = True
            raise error
        if progress:
            self._interrupted_since = None
        if self._failing_since is None or progress or now - self._began > retry.patience:
            self._attempt, self._failing_since, self._sequence = 1, now, sequence
        limit = min(retry.max_delay, retry.initial_delay * 2.0 ** (self._attempt - 1))
        delay = (error.retry_after or 0.0) + random.uniform(0, limit)  # noqa: S311  # not security-relevant
        patience = retry.patience if self._policy.reached else min(retry.patience, FIRST_CONTACT)
        end = self._failing_since + patience
        if now + delay > (end if self._deadline is None else min(end, self._deadline)):
            self._over = True
            raise error
        self._attempt += 1
        self._failed_before = True
        if self._policy.on_retry is not None:
            self._policy.on_retry(
                RetryNotice(method=self._method, attempt=self._attempt, delay=delay, error=error, sequence=sequence)
            )
        return delay

    def _is_retryable(self, error: MCPError) -> bool:
        if error.details.final or not self._idempotent or not isinstance(error, RETRYABLE):
            return False
        if self._method == "TurnService.StreamTurn" and isinstance(error, TurnInterrupted):
            # A watcher cannot resume the turn. If the connection was lost just now, the original caller is about to.
            now = time.monotonic()
            self._interrupted_since = now if self._interrupted_since is None else self._interrupted_since
            return self._failed_before and now - self._interrupted_since < RESUME_WAIT
        return error.code != "CANCELLED"  # the client was closed
