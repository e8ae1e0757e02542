"""Whether a call may begin, and for how much."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from mcp_server.errors import Overloaded
from mcp_server.interfaces import Admission, Permit, Work
from mcp_server.principal import Principal

RETRY_SECONDS: Final = 1.0
"""The least time after which a refused caller is asked to try again."""
MAX_RETRY_SECONDS: Final = 30.0
"""The most."""
_SMOOTHING: Final = 0.1
"""The weight of the last interval in the average of all."""
_MAX_TENANTS: Final = 1000
"""Of how many tenants the next retry is kept, before those that have passed are dropped."""


class _Unlimited:
    """A permit that counts nothing."""

    def release(self) -> None:
        """Nothing to give back."""


class AdmitAll:
    """An :class:`~mcp_server.interfaces.Admission` that admits everything."""

    PERMIT: Final = _Unlimited()
    """What everybody gets."""

    async def admit(self, principal: Principal, work: Work, /) -> Permit:
        """Grant the permit."""
        return self.PERMIT


class TurnLimit:
    """An :class:`~mcp_server.interfaces.Admission` that admits a number of turns and embedding requests at a time.

    Further ones wait in a queue. Tenants are served in turn there: one with many calls does not delay the others. A
    call for which the queue is full, or that has waited too long, is refused. A caller that leaves is dropped.

    Args:
        most: how many are admitted at a time.
        following: asked for a permit for what this admits.
        max_waiting: how many may wait, of all tenants together.
        queue_timeout: how long each of them may wait, in seconds.
        waited: called with the seconds that a call has waited, when it is admitted.

    Attributes:
        most, max_waiting, queue_timeout: the same; :meth:`configure` changes them.
    """

    def __init__(
        self,
        most: int,
        following: Admission,
        *,
        max_waiting: int = 0,
        queue_timeout: float = 0.0,
        waited: Callable[[float], None] | None = None,
    ) -> None:
        self.most = most
        self.max_waiting = max_waiting
        self.queue_timeout = queue_timeout
        self._following = following
        self._waited = waited
        self._held = 0
        self._waiting = 0
        self._queues: OrderedDict[str, OrderedDict[asyncio.Future[None], None]] = OrderedDict()
        """The calls that wait, by tenant. The first tenant is served next."""
        self._retries = _Retries()

    @property
    def waiting(self) -> int:
        """How many calls wait."""
        return self._waiting

    def configure(self, most: int, *, max_waiting: int, queue_timeout: float) -> None:
        """Use other limits from now on, and admit calls that wait if there are free places. They keep their times."""
        self.most, self.max_waiting, self.queue_timeout = most, max_waiting, queue_timeout
        self._serve()

    async def admit(self, principal: Principal, work: Work, /) -> Permit:
        """Grant a permit, after a while if need be.

        Raises:
            Overloaded: the queue is full, or the call has waited too long.
            MCPError: what comes next grants none.
        """
        if self._held < self.most and not self._queues:
            self._held += 1
        else:
            await self._wait(principal.tenant, work)
        try:
            permit = await self._following.admit(principal, work)
        except BaseException:
            self._give_back()
            raise
        return _Held(self, permit)

    async def _wait(self, tenant: str, work: Work) -> None:
        """Wait in the queue, and return with a place."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        timeout = self.queue_timeout if work.timeout is None else min(self.queue_timeout, work.timeout)
        if timeout <= 0 or not self._has_space(tenant):
            raise self._refusal(tenant, "max_waiting" if timeout > 0 else "max_turns")
        granted: asyncio.Future[None] = loop.create_future()
        self._queues.setdefault(tenant, OrderedDict())[granted] = None
        self._waiting += 1
        timer = loop.call_later(timeout, self._refuse, tenant, granted, "queue_timeout")
        try:
            await granted
        except asyncio.CancelledError:  # the caller has left, or its deadline has passed
            if granted.cancelled():
                self._remove(tenant, granted)
            elif granted.exception() is None:
                self._give_back()
            raise
        finally:
            timer.cancel()
        if self._waited is not None:
            self._waited(loop.time() - begin)

    def _has_space(self, tenant: str) -> bool:
        """Whether a call of the tenant may join the queue. If it is full, a tenant that has less than its share of it
        takes the place of the last call of the one that has most."""
        if self._waiting < self.max_waiting:
            return True
        own = len(self._queues.get(tenant, ()))
        if not self._waiting or own >= self._waiting // (len(self._queues) + (own == 0)):
            return False
        longest = max(self._queues, key=lambda each: len(self._queues[each]))
        self._refuse(longest, next(reversed(self._queues[longest])), "max_waiting")
        return True

    def _refuse(self, tenant: str, granted: asyncio.Future[None], limit: str) -> None:
        """End the wait of a call."""
        if not granted.done():
            self._remove(tenant, granted)
            granted.set_exception(self._refusal(tenant, limit))

    def _refusal(self, tenant: str, limit: str) -> Overloaded:
        return Overloaded(
            f"the server runs {self.most} turns, as many as it may at a time: try again later",
            metadata={"limit": limit},
            retry_after=self._retries.next(tenant),
        )

    def _remove(self, tenant: str, granted: asyncio.Future[None]) -> None:
        queue = self._queues[tenant]
        del queue[granted]
        if not queue:
            del self._queues[tenant]
        self._waiting -= 1

    def _give_back(self) -> None:
        if self._held >= self.most:
            self._retries.place_free()
        self._held -= 1
        self._serve()

    def _serve(self) -> None:
        """Give free places to calls that wait."""
        while self._queues and self._held < self.most:
            tenant, queue = next(iter(self._queues.items()))
            granted = next(iter(queue))
            self._queues.move_to_end(tenant)
            self._remove(tenant, granted)
            if not granted.done():  # else its caller has left, and its task has not run since
                self._held += 1
                granted.set_result(None)


class _Retries:
    """When refused callers are to try again: no more of them at a time than places become free.

    Otherwise those that obey would come back together, and their retries alone could overload the server.
    """

    def __init__(self) -> None:
        self._interval = 0.0
        """The average time between two places that become free, in seconds, while all are taken."""
        self._last_free: float | None = None
        self._last_retry: dict[str, float] = {}
        """For when the last caller of each tenant was asked to come back."""

    def place_free(self) -> None:
        """Note that one of all places has become free."""
        now = asyncio.get_running_loop().time()
        if self._last_free is not None:
            self._interval += (min(now - self._last_free, RETRY_SECONDS) - self._interval) * _SMOOTHING
        self._last_free = now

    def next(self, tenant: str) -> float:
        """After how many seconds a caller of the tenant is to try again."""
        now = asyncio.get_running_loop().time()
        if len(self._last_retry) >= _MAX_TENANTS:
            self._last_retry = {name: last for name, last in self._last_retry.items() if last > now}
        delay, last = RETRY_SECONDS, self._last_retry.get(tenant)
        if last is not None:
            delay = min(max(delay, last + self._interval - now), MAX_RETRY_SECONDS)
        self._last_retry[tenant] = now + delay
        return delay


class _Held:
    """One of the permits of a limit, and that of what comes next."""

    __slots__ = ("_limit", "_permit")

    def __init__(self, limit: TurnLimit, permit: Permit) -> None:
        self._limit = limit
        self._permit = permit

    def release(self) -> None:
        """Give both back, the own one even if the other fails."""
        self._limit._give_back()
        self._permit.release()


class AllOf:
    """An :class:`~mcp_server.interfaces.Admission` that admits what all of several admit.

    Args:
        rules: each is asked, in this order, until one refuses.
    """

    def __init__(self, rules: Sequence[Admission]) -> None:
        self._rules = tuple(rules)

    async def admit(self, principal: Principal, work: Work, /) -> Permit:
        """Grant a permit.

        Raises:
            MCPError: one of them grants none; those of the others are given back.
        """
        permits: list[Permit] = []
        try:
            for rule in self._rules:
                permits.append(await rule.admit(principal, work))  # noqa: PERF401  # those before a refusal are needed
        except BaseException:
            _Permits(permits).release()
            raise
        return _Permits(permits)


class _Permits:
    """Several permits."""

    __slots__ = ("_permits",)

    def __init__(self, permits: Sequence[Permit]) -> None:
        self._permits = permits

    def release(self) -> None:
        """Give all back, even if one of them fails."""
        with contextlib.ExitStack() as stack:
            for permit in self._permits:
                stack.callback(permit.release)
