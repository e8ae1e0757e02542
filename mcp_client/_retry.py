"""When a call is sent again: what may be, how long to wait, and when to give up. No I/O happens here."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mcp_client._arguments import argument
from mcp_client._errors import Draining, MCPError, Overloaded, ServerUnavailable, StoreUnavailable, TurnInterrupted

FIRST_CONTACT: Final = 2.0
"""Seconds that are given to a server that has never answered: most likely it is the address that is wrong."""

OTHERS: Final = 5.0
"""Seconds that who only watches a turn gives its caller, who alone can make it go on, after its process has died."""

_TEMPORARY: Final = (ServerUnavailable, Draining, Overloaded, TurnInterrupted, StoreUnavailable)
"""What the same request, sent again, may not meet again. All else is the caller's to decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How patient a client is with a server that is away, restarts, or has too much to do.

    The pauses are random, up to a limit that doubles from one to the next. A server that says when to come back is not
    asked before. A call's own ``timeout`` holds for all of its attempts together.
    """

    patience: float = 60.0
    """Seconds of trouble after which a call fails, counted from its first failure since it last got on. A server that
    has never answered this client is given two. The default outlasts a drain, and the start of the next server."""
    initial_delay: float = 0.1
    """Seconds: the limit of the first pause."""
    max_delay: float = 2.0
    """Seconds: the limit that no pause exceeds, unless the server asks for more."""

    def __post_init__(self) -> None:
        for name in ("patience", "initial_delay", "max_delay"):
            with argument(name):
                if not getattr(self, name) > 0:
                    raise ValueError(f"expected seconds above 0, not {getattr(self, name)!r}")


DEFAULT_RETRY: Final = Retry()


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryNotice:
    """A call has failed and will be sent again. The caller of the call hears nothing of it but the pause."""

    method: str
    """For example ``ChatService.StreamChat``."""
    attempt: int
    """The attempt that comes next: 2 is the first after anything was heard."""
    delay: float
    """Seconds until then."""
    error: MCPError
    """Why the one before failed."""
    sequence: int
    """The last event of the turn that was seen; it goes on behind that one. 0: none."""


OnRetry = Callable[[RetryNotice], None]


class Retries:
    """What the calls of one client share.

    Args:
        retry: how patient it is; ``None``: nothing is sent again.
        on_retry: told before each pause.

    Attributes:
        reached: whether the server has ever answered.
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
        retries: of the client.
        method: ``Service.Method``.
        timeout: seconds for all of them together, from now; ``None``: no limit.
        repeatable: whether sending the request twice does no more than sending it once.
        sequence: the last event of a turn that the caller has seen already.
    """

    def __init__(
        self, retries: Retries, method: str, *, timeout: float | None, repeatable: bool = True, sequence: int = 0
    ) -> None:
        self._retries = retries
        self._method = method
        self._repeatable = repeatable
        self._began = time.monotonic()
        self._deadline = None if timeout is None else self._began + timeout
        self._sequence = sequence
        self._attempt = 1
        self._trouble: float | None = None
        self._failed_before = False
        self._interrupted: float | None = None
        self._over = False

    def begin(self) -> float | None:
        """One more attempt begins; return the seconds that it may take."""
        self._began = time.monotonic()
        return None if self._deadline is None else self._deadline - self._began

    def succeeded(self) -> None:
        """The call is done."""
        self._retries.reached = True

    def again(self, error: MCPError, sequence: int = 0) -> float:
        """Return the seconds to wait before the next attempt; or raise ``error``, if there is none.

        Args:
            error: how this attempt ended.
            sequence: the last event that was seen.
        """
        retry, now = self._retries.retry, time.monotonic()
        heard = sequence > self._sequence
        if heard or error.reason or now - self._began > FIRST_CONTACT:
            self._retries.reached = True
        if retry is None or self._over or not self._may_help(error):
            self._over = True
            raise error
        if heard:
            self._interrupted = None
        if self._trouble is None or heard or now - self._began > retry.patience:
            self._attempt, self._trouble, self._sequence = 1, now, sequence
        limit = min(retry.max_delay, retry.initial_delay * 2.0 ** (self._attempt - 1))
        delay = (error.retry_after or 0.0) + random.uniform(0, limit)  # noqa: S311  # no secret
        patience = retry.patience if self._retries.reached else min(retry.patience, FIRST_CONTACT)
        end = self._trouble + patience
        if now + delay > (end if self._deadline is None else min(end, self._deadline)):
            self._over = True
            raise error
        self._attempt += 1
        self._failed_before = True
        if self._retries.on_retry is not None:
            self._retries.on_retry(
                RetryNotice(method=self._method, attempt=self._attempt, delay=delay, error=error, sequence=sequence)
            )
        return delay

    def _may_help(self, error: MCPError) -> bool:
        if error.details.final or not self._repeatable or not isinstance(error, _TEMPORARY):
            return False
        if self._method == "TurnService.StreamTurn" and isinstance(error, TurnInterrupted):
            # Who only watches cannot make it go on. If the connection was lost just now, its caller is about to.
            now = time.monotonic()
            self._interrupted = now if self._interrupted is None else self._interrupted
            return self._failed_before and now - self._interrupted < OTHERS
        return error.code != "CANCELLED"  # this client was closed
