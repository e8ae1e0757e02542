"""Failover: which model is asked next and when, until one answers or nothing is left to try."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Hashable, Sequence
from typing import Any, Final, TypeVar

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
from mcp_server.models.catalogue import Candidates
from mcp_server.models.circuit import CallKind
from mcp_server.models.provider_call import LOAD, LOADING, OWN_LIMIT, PROCESS, ProviderCall
from mcp_server.models.target import Target
from mcp_server.models.usage import Ledger
from mcp_server.values import OnCut, TurnState

MAX_CALLS: Final = 16
"""The most calls of one turn, whatever the settings and however many keys a provider has."""

DOWN: Final = (None, "502", "503", "504", "529")
"""The statuses of a provider that has not looked at what was asked; ``None``: it could not be reached."""

T = TypeVar("T")


class _Candidate:
    """A model as one turn, or one embedding request, sees it."""

    __slots__ = ("calls", "circuit", "ready", "target", "timeouts", "usable", "waited")

    def __init__(self, target: Target, kind: CallKind) -> None:
        self.target = target
        self.circuit = target.circuits.of(kind)
        self.calls = 0
        """How many calls have been made, without those that ended without a first piece in time."""
        self.timeouts = 0
        """How many of the latter."""
        self.ready = 0.0
        """When it may be asked again, by the event loop's clock."""
        self.waited = False
        """Whether a pause that its provider asked for was waited out although another model could have answered."""
        self.usable = True


class Failover:
    """Asks the candidates of one turn, or of one embedding request, one call after the other.

    Args:
        candidates: the models that can do what is asked, and how often and how soon to try again.
        kind: what is asked for.
        ledger: gets a row for each call.
        until: when the turn ends at the latest, by the event loop's clock.
        content: identifies what is asked, so that one conversation which a model cannot bear counts once against it.
        on_cut: what happens after the first piece of an answer; ``None``: what the policy of the candidates says.
        continues: says whether a model can continue the answer as far as it has come.
    """

    def __init__(
        self,
        candidates: Candidates,
        kind: CallKind,
        ledger: Ledger,
        *,
        until: float,
        content: Callable[[], Hashable],
        on_cut: OnCut | None = None,
        continues: Callable[[Target], bool] = lambda _: False,
    ) -> None:
        self._policy = candidates.policy
        self._on_cut = on_cut or OnCut(candidates.policy.on_cut)
        self._continues = continues
        self._kind: CallKind = kind
        self._ledger = ledger
        self._content = content
        self._candidates = [_Candidate(target, kind) for target in candidates.targets]
        self._present = self._candidates[0]
        self._until = until
        self._loop = asyncio.get_running_loop()
        self._calls = 0
        self._error: MCPError | None = None

    async def run(self, ask: Callable[[ProviderCall], Coroutine[Any, Any, T]]) -> T:
        """Ask one model after the other until a call succeeds, and return what ``ask`` returned then.

        ``ask`` makes one call to ``call.target`` and reports to ``call`` what comes of it. The row of a call that
        failed is closed here, that of the last one by the caller.

        Raises:
            MCPError: why the last call failed, when nothing is left to try; or that no provider can be asked now.
        """
        await self._choose(0)
        failure: MCPError | None = None
        while True:
            call = self._begin(failure)
            try:
                result = await call.run(ask)
            except MCPError as error:
                failure = error
                self._ledger.update(TurnState.FAILED, error)
                self._report(call, error)
                if call.is_last:
                    raise
                self._judge(error, started=call.meter.started)
                position = self._candidates.index(self._present)
                # An answer that was cut is taken up by the next model, and whoever was silent is not waited for again
                # while another may answer.
                silent = isinstance(error, ProviderTimeout)
                await self._choose(position + 1 if call.meter.started or silent else position)
            except BaseException:
                call.circuit.abandoned(probe=call.probe)
                raise
            else:
                call.circuit.succeeded()
                return result

    def _begin(self, failure: MCPError | None) -> ProviderCall:
        present = self._present
        present.calls += 1
        self._calls += 1
        has_fallback = any(
            other is not present and not other.timeouts and other.circuit.wait <= 0 and self._has_budget(other)
            for other in self._candidates
        )
        return ProviderCall(present.target, self._kind, self._ledger, has_fallback=has_fallback, previous_error=failure)

    def _has_budget(self, candidate: _Candidate) -> bool:
        """Whether the turn may make another call to the model."""
        policy = self._policy
        return candidate.usable and candidate.calls < policy.max_attempts and candidate.timeouts < policy.max_timeouts

    def _report(self, call: ProviderCall, error: MCPError) -> None:
        """Tell the circuit breaker how the call ended."""
        circuit, probe = call.circuit, call.probe
        if error.metadata.get("cause") in (LOAD, LOADING, OWN_LIMIT) or (
            not call.begun and not isinstance(error, ProviderError)
        ):
            circuit.abandoned(probe=probe)
        elif isinstance(error, ProviderRateLimited):
            circuit.limit_rate(error.retry_after or 0.0, probe=probe)
        elif isinstance(error, ProviderError | InternalError) and not _is_refusal(error):
            if error.retry_after == 0:
                circuit.abandoned(probe=probe)  # one of its keys failed, not the provider
            else:
                circuit.failed(probe=probe, suspect=hash(self._content()) if _may_be_the_content(error) else None)
        else:
            circuit.succeeded()

    def _judge(self, error: MCPError, *, started: bool) -> None:
        """Raise ``error`` if nothing else may be tried; else note which models may be asked again, and when."""
        if self._error is None or isinstance(error, ProviderError):
            self._error = error
        present = self._present
        target = present.target
        if started and not self._may_take_over():
            if isinstance(error, ProviderUnavailable | ProviderTimeout):
                raise ProviderStreamCut(error.message, metadata=error.metadata) from error
            raise error
        if self._calls >= MAX_CALLS:
            raise error
        if error.retry_after == 0 and isinstance(error, ProviderError):
            present.calls -= 1
        elif error.metadata.get("cause") == LOAD:
            present.usable = False
        elif isinstance(error, ProviderRejected):
            if _is_refusal(error):
                raise error
            for candidate in self._candidates:  # the same credentials serve all models of a provider
                if candidate.target.provider_name == target.provider_name:
                    candidate.usable = False
        elif isinstance(error, ProviderError):
            if isinstance(error, ProviderTimeout):
                present.calls -= 1
                present.timeouts += 1
            tries = present.calls + present.timeouts
            wait = min(self._policy.backoff * 2 ** (tries - 1), self._policy.max_backoff)
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

    def _may_take_over(self) -> bool:
        """Whether a model may be asked after the first piece of an answer. Those that may not are not asked again."""
        if self._on_cut is OnCut.CONTINUE_OR_FAIL:
            for candidate in self._candidates:
                candidate.usable = candidate.usable and self._continues(candidate.target)
            return any(candidate.usable for candidate in self._candidates)
        return self._on_cut is not OnCut.FAIL

    async def _choose(self, first: int) -> None:
        """Choose the model to ask, from the candidate with the number ``first`` on, and wait until it may be asked."""
        while True:
            self._present, delay = self._next(first)
            if delay <= 0:
                return
            await asyncio.sleep(delay)

    def _next(self, first: int) -> tuple[_Candidate, float]:
        """The next candidate and in how many seconds it may be asked."""
        count = len(self._candidates)
        usual = self._candidates[first % count]
        if not usual.ready and usual.circuit.clear and self._has_budget(usual):
            return usual, 0.0
        now = self._loop.time()
        usable = [
            candidate
            for candidate in [self._candidates[(first + step) % count] for step in range(count)]
            if self._has_budget(candidate)
        ]
        open_to_calls = [candidate for candidate in usable if candidate.circuit.wait <= 0]
        if not open_to_calls:
            raise self._error or _all_circuits_open(usable)
        for candidate in open_to_calls:
            wait, resting = candidate.ready - now, candidate.circuit.rate_limited
            if 0 < resting <= self._policy.retry_after_wait and not candidate.waited:
                candidate.waited = True
                wait = max(wait, resting)
            elif resting or wait > self._policy.max_backoff:
                continue
            if now + wait < self._until:
                return candidate, wait
        # All are rate limited. A turn that was refused waits until it may ask again; any other turn asks at once.
        soonest = min(open_to_calls, key=lambda candidate: max(candidate.ready - now, 0.0))
        wait = soonest.ready - now
        if now + wait >= self._until and self._error is not None:
            raise self._error
        return soonest, wait


def _all_circuits_open(candidates: Sequence[_Candidate]) -> MCPError:
    names = ", ".join(dict.fromkeys(candidate.target.provider_name for candidate in candidates))
    soonest = min([candidate.circuit for candidate in candidates], key=lambda circuit: circuit.wait)
    return ProviderUnavailable(f"{names}: {soonest.problem}", metadata={"provider": names}, retry_after=soonest.wait)


def _may_be_the_content(error: MCPError) -> bool:
    """Whether what was asked may be why the provider failed: not where it is known to be down, overloaded or silent."""
    if isinstance(error, ProviderRejected | ProviderTimeout):
        return False
    facts = error.metadata
    return (
        not isinstance(error, ProviderUnavailable) or facts.get("status") not in DOWN or facts.get("cause") == PROCESS
    )


def _is_refusal(error: MCPError) -> bool:
    """Whether a provider declined the content, which no other is asked to take."""
    return isinstance(error, ProviderRejected) and error.metadata.get("cause") != "credentials"
