"""Whether a call may begin, and for how much."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Final

from mcp_server.errors import Overloaded
from mcp_server.interfaces import Admission, Permit, Work
from mcp_server.principal import Principal

RETRY_SECONDS: Final = 1.0
"""After how long a refused caller may try again."""


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

    Args:
        most: that number.
        following: asked for a permit for what this admits.
    """

    def __init__(self, most: int, following: Admission) -> None:
        self.most = most
        """How many turns and embedding requests it admits at a time."""
        self._following = following
        self._held = 0

    async def admit(self, principal: Principal, work: Work, /) -> Permit:
        """Grant a permit.

        Raises:
            Overloaded: so many are held already.
            MCPError: what comes next grants none.
        """
        if self._held >= self.most:
            raise Overloaded(
                f"the server runs {self.most} turns, as many as it may at a time: try again later",
                retry_after=RETRY_SECONDS,
            )
        self._held += 1
        try:
            permit = await self._following.admit(principal, work)
        except BaseException:
            self._held -= 1
            raise
        return _Held(self, permit)

    def _give_back(self) -> None:
        self._held -= 1


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
