"""The calls to providers that one turn makes: which model is asked next and when, for how long, and when it is enough.

A :class:`Course` decides, and holds the call that runs to its limits. What an answer becomes is the turn's matter.
"""

from __future__ import annotations

import asyncio
import enum
import random
import secrets
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar, cast

import structlog

from mcp_server.errors import (
    ContextTooLong,
    InternalError,
    MCPError,
    ModelNotFound,
    ProviderError,
    ProviderRateLimited,
    ProviderRejected,
    ProviderStreamCut,
    ProviderTimeout,
    ProviderUnavailable,
    UnsupportedByModel,
)
from mcp_server.models.target import Target
from mcp_server.values import Struct

MAX_CALLS: Final = 16
"""The most calls of one turn, whatever the settings and however many keys a provider has."""
CLEANUP_SECONDS: Final = 2.0
"""How long a provider may take to stop what it does."""

T = TypeVar("T")
log = structlog.get_logger("contextprotocol.attempts")


class OnCut(enum.StrEnum):
    """What becomes of an answer whose provider fails after its first piece."""

    RESTART = "restart"
    """The next model begins anew, and callers drop what they have."""
    CONTINUE = "continue"
    """The next model goes on from there if it can; else it begins anew."""
    FAIL = "fail"
    """The turn fails, and keeps what there is."""


class Policy(Struct):
    """How often and how soon a turn tries again."""

    max_attempts: int = 3
    """The most calls of a turn to one model; a call that fails for its key alone does not count."""
    backoff: float = 0.25
    """Seconds before the second call to a model, twice that before the third, and so on; a random part of up to a half
    is taken off."""
    max_backoff: float = 8.0
    """The longest of these."""
    on_cut: OnCut = OnCut.RESTART
    """What becomes of an answer that was cut."""


class _Candidate:
    """A model as one turn sees it."""

    __slots__ = ("calls", "ready", "target", "usable")

    def __init__(self, target: Target) -> None:
        self.target = target
        self.calls = 0
        self.ready = 0.0
        self.usable = True


class Course:
    """The calls of one turn, one after the other.

    ::

        await course.next()
        try:
            answer = await course.call(lambda watch: ask(course.target, watch))
        except MCPError as error:
            await course.next(error)
        ...

    Args:
        targets: the models that can do what is asked, the preferred one first; at least one.
        policy: how often and how soon it tries again.
        until: when the turn ends at the latest, by the event loop's clock.
    """

    def __init__(self, targets: Sequence[Target], policy: Policy, *, until: float) -> None:
        self.policy = policy
        self._candidates = [_Candidate(target) for target in targets]
        self._present = self._candidates[0]
        self._until = until
        self._loop = asyncio.get_running_loop()
        self._calls = 0
        self._in_flight = self._on_trial = self._asked = False
        self._error: MCPError | None = None

    @property
    def target(self) -> Target:
        """The model that is asked now."""
        return self._present.target

    # -- which is next ------------------------------------------------------------------------------------------------

    async def next(self, error: MCPError | None = None, *, begun: bool = False) -> Target:
        """Choose the model to ask, and wait until it may be asked.

        Args:
            error: how the last call failed.
            begun: whether some of its answer has been passed on.

        Raises:
            MCPError: ``error``, since nothing is left to try; or that no provider can be asked now.
        """
        first = 0
        if error is not None:
            self._report(error)
            present = self._candidates.index(self._present)
            # What was cut is taken up by the next one, if there is one.
            first = present + 1 if begun else present
            self._judge(error, begun=begun)
        while True:
            candidate, delay = self._choose(first)
            if delay <= 0:
                break
            await asyncio.sleep(delay)
        self._present = candidate
        candidate.calls += 1
        self._on_trial = candidate.target.circuit.begin()
        self._calls += 1
        self._in_flight = True
        return candidate.target

    def succeeded(self) -> None:
        """The last call brought what it should."""
        self._in_flight = False
        self.target.circuit.succeeded()

    def close(self) -> None:
        """Nothing more is called."""
        if self._in_flight:
            self._in_flight = False
            self.target.circuit.left(on_trial=self._on_trial)

    def _report(self, error: MCPError) -> None:
        self._in_flight = False
        circuit, on_trial = self.target.circuit, self._on_trial
        if not self._asked and not isinstance(error, ProviderError):
            circuit.left(on_trial=on_trial)
        elif isinstance(error, ProviderRateLimited):
            circuit.limited(error.retry_after or 0.0, on_trial=on_trial)
        elif isinstance(error, ProviderError | InternalError) and not _is_refusal(error):
            if error.retry_after == 0:
                circuit.left(on_trial=on_trial)  # One of its keys has failed, not the provider.
            else:
                circuit.failed(on_trial=on_trial)
        else:
            circuit.succeeded()

    def _judge(self, error: MCPError, *, begun: bool) -> None:
        """Raise ``error`` if it is the last word; else note who may be asked again, and when."""
        if self._error is None or isinstance(error, ProviderError):
            self._error = error
        present = self._present
        target = present.target
        if begun and self.policy.on_cut is OnCut.FAIL:
            if isinstance(error, ProviderUnavailable | ProviderTimeout):
                raise ProviderStreamCut(error.message, metadata=error.metadata) from error
            raise error
        if self._calls >= MAX_CALLS:
            raise error
        if error.retry_after == 0 and isinstance(error, ProviderError):
            present.calls -= 1
        elif isinstance(error, ProviderRejected):
            if _is_refusal(error):
                raise error
            for candidate in self._candidates:  # the same credentials serve all models of a provider
                if candidate.target.provider_name == target.provider_name:
                    candidate.usable = False
        elif isinstance(error, ProviderError):
            wait = min(self.policy.backoff * 2 ** (present.calls - 1), self.policy.max_backoff)
            wait *= 1 - random.random() / 2  # noqa: S311  # spreads calls, and guards nothing
            present.ready = self._loop.time() + max(wait, error.retry_after or 0.0)
        elif isinstance(error, ContextTooLong):
            window = target.model.context_window
            for candidate in self._candidates:
                if candidate is present or 0 < candidate.target.model.context_window <= window:
                    candidate.usable = False
        elif isinstance(error, UnsupportedByModel | ModelNotFound | InternalError):
            present.usable = False
        else:
            raise error

    def _choose(self, first: int) -> tuple[_Candidate, float]:
        """The next to ask, from the candidate with the number ``first`` on, and in how many seconds."""
        now, count = self._loop.time(), len(self._candidates)
        usable = [
            candidate
            for candidate in [self._candidates[(first + step) % count] for step in range(count)]
            if candidate.usable and candidate.calls < self.policy.max_attempts
        ]
        closed = [candidate for candidate in usable if candidate.target.circuit.wait <= 0]
        if not closed:
            raise self._error or self._nobody(usable)
        for candidate in closed:
            wait = candidate.ready - now
            resting = candidate.target.circuit.resting > 0 or wait > self.policy.max_backoff
            if not resting and now + wait < self._until:
                return candidate, wait
        # All of them have asked for peace, which binds the turn that was told so; to others it is advice.
        soonest = min(closed, key=lambda candidate: max(candidate.ready - now, 0.0))
        wait = soonest.ready - now
        if now + wait >= self._until and self._error is not None:
            raise self._error
        return soonest, wait

    def _nobody(self, usable: Sequence[_Candidate]) -> MCPError:
        wait = min(candidate.target.circuit.wait for candidate in usable)
        names = ", ".join(dict.fromkeys(candidate.target.provider_name for candidate in usable))
        return ProviderUnavailable(
            f"the provider {names} has failed again and again, and is left alone for a while: send the call again "
            "later",
            metadata={"provider": names},
            retry_after=wait,
        )

    # -- one call -----------------------------------------------------------------------------------------------------

    async def call(self, work: Callable[[Watch], Coroutine[Any, Any, T]]) -> T:
        """Run ``work``, which asks :attr:`target`, within the limits on time, and be rid of it when this returns or is
        cancelled, whatever it does. Work that tells its watch that it is :meth:`~Watch.answered` returns nothing.

        Raises:
            ProviderTimeout: nothing came in time.
            ProviderStreamCut: it had begun, and nothing more came in time.
            InternalError: it raised what no provider should.
        """
        watch, name = Watch(self.target, on_trial=self._on_trial), self.target.name
        task = self._loop.create_task(work(watch))
        try:
            await watch.over(task)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task], timeout=CLEANUP_SECONDS)
            raise
        finally:
            watch.close()
            if not task.done():
                log.error("provider does not stop", provider=self.target.provider_name, seconds=CLEANUP_SECONDS)
                task.add_done_callback(_forget)
            self._asked = watch.asked
        if watch.whole:
            if task.done() and not task.cancelled() and (raised := task.exception()) is not None:
                log.error("provider failed behind the end of its answer", model=name, exc_info=raised)
            return cast(T, None)
        if watch.late is not None and (not task.done() or task.cancelled() or task.exception() is not None):
            raise watch.late
        try:
            return task.result()
        except MCPError:
            raise
        except BaseException as raised:  # a CancelledError too: nobody has cancelled it but itself
            error_id = secrets.token_hex(6)
            log.error("provider failed unexpectedly", model=name, error_id=error_id, exc_info=raised)
            raise InternalError(
                f"{name} failed in a way that the server does not know; its log has more under {error_id}",
                metadata={"error_id": error_id, "model": name},
            ) from raised


class Watch:
    """Holds one call to its limits."""

    def __init__(self, target: Target, *, on_trial: bool) -> None:
        self.late: MCPError | None = None
        """Which limit it has reached."""
        self._target = target
        self._on_trial = on_trial
        self._loop = asyncio.get_running_loop()
        self._begun = self._heard = self._loop.time()
        self.asked = False
        """Whether the provider has been asked."""
        self.whole = False
        """Whether the answer has come to its end."""
        self._answers = self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._ended: asyncio.Future[None] = self._loop.create_future()

    def heard(self) -> None:
        """A piece of the answer has come."""
        self._check()
        self._heard = self._loop.time()
        if not self._answers:
            self._answers = True
            self._target.circuit.heard(on_trial=self._on_trial)
            self._look_again()  # the next limit is another one, and may come sooner

    def answered(self) -> None:
        """The answer is whole: from now on the provider only has to stop, and nothing that it does counts."""
        self.whole = True
        self._heard = self._loop.time()
        self._look_again()

    def asks(self) -> None:
        """The provider is asked from now on. Until then, a refusal says nothing of it."""
        self._check()
        self.asked = True

    def _check(self) -> None:
        """Go no further if nobody waits for this call any more, although it was told to stop."""
        if self._closed:
            raise asyncio.CancelledError

    async def over(self, task: asyncio.Task[Any]) -> None:
        """Return when the task has ended, or was stopped for good."""
        self._task = task
        task.add_done_callback(self._end)
        self._look_again()
        await self._ended

    def close(self) -> None:
        """Nobody waits for it any more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _end(self, _: object = None) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def _due(self) -> float:
        if self.whole:
            return self._heard + CLEANUP_SECONDS
        limits = self._target.limits
        due = self._heard + limits.silence if self._answers else self._begun + limits.first_token
        return due if limits.attempt is None else min(due, self._begun + limits.attempt)

    def _look_again(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._due(), self._look)

    def _look(self) -> None:
        """See whether a limit has been reached."""
        if self._loop.time() < self._due():
            self._look_again()
            return
        if self.whole:
            self._task.cancel()
            self._end()
            return
        name = self._target.name
        if self._answers:
            self.late = ProviderStreamCut(f"{name} did not go on with its answer in time", metadata={"model": name})
        else:
            self.late = ProviderTimeout(f"{name} did not begin to answer in time", metadata={"model": name})
        self._task.cancel()
        self._timer = self._loop.call_later(CLEANUP_SECONDS, self._end)


def _is_refusal(error: MCPError) -> bool:
    """Whether a provider has declined the content, which no other is asked to take."""
    return isinstance(error, ProviderRejected) and error.metadata.get("cause") != "credentials"


def _forget(task: asyncio.Task[Any]) -> None:
    """Look at how an abandoned call ended, so that nobody else complains."""
    if not task.cancelled():
        task.exception()
