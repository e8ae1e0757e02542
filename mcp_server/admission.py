"""Whether a call may begin, and for how much."""

from __future__ import annotations

from typing import Final

from mcp_server.interfaces import Permit, Work
from mcp_server.principal import Principal


class _Unlimited:
    """A permit that counts nothing."""

    def release(self) -> None:
        """Nothing to give back."""


class AdmitAll:
    """An :class:`~mcp_server.interfaces.Admission` that admits everything: the default while there are no limits."""

    PERMIT: Final = _Unlimited()
    """What everybody gets."""

    async def admit(self, principal: Principal, work: Work, /) -> Permit:
        """Grant the permit."""
        return self.PERMIT
