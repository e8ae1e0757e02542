"""The contract of admission rules, as tests for their authors::

    class TestOneAtATime(AdmissionContract):
        principal = Principal(tenant="acme")
        work = Work(service="chat")

        def make(self) -> Admission:
            return OneAtATime()

pytest and pytest-asyncio run every test of the contract on it.
"""

from __future__ import annotations

from typing import ClassVar

import pytest

from mcp_server.errors import TryLater
from mcp_server.interfaces import Admission, Permit, Work
from mcp_server.principal import Principal


class AdmissionContract:
    """What every admission rule does. Set the two attributes and override :meth:`make`."""

    principal: ClassVar[Principal]
    """A caller whom a new rule admits."""
    work: ClassVar[Work]
    """The work for which it does."""
    most: ClassVar[int] = 1000
    """How many permits the tests request before they release any. A rule may refuse some of them."""

    def make(self) -> Admission:
        """A new rule."""
        raise NotImplementedError

    @pytest.mark.asyncio
    async def test_work_is_admitted(self) -> None:
        """The permit can be released."""
        (await self.make().admit(self.principal, self.work)).release()

    @pytest.mark.asyncio
    async def test_a_refusal_tells_the_caller_to_wait(self) -> None:
        """As QuotaExceeded or Overloaded, which clients understand."""
        rule, permits = self.make(), list[Permit]()
        for _ in range(self.most):
            try:
                permits.append(await rule.admit(self.principal, self.work))
            except TryLater as refused:
                assert refused.code == "RESOURCE_EXHAUSTED"  # every one, of which there may be none
                assert refused.message
        assert permits
        for permit in permits:
            permit.release()

    @pytest.mark.asyncio
    async def test_released_permits_do_not_count_any_more(self) -> None:
        """In whatever order they are released. Refusals do not count either."""
        rule = self.make()
        counts = []
        for order in (1, -1):
            permits = list[Permit]()
            for _ in range(self.most):
                try:
                    permits.append(await rule.admit(self.principal, self.work))
                except TryLater:
                    break
            counts.append(len(permits))
            for permit in permits[::order]:
                permit.release()
        assert counts[0] == counts[1]
