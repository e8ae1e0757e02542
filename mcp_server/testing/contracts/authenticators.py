"""The contract of authenticators, as tests for their authors::

    class TestTickets(AuthenticatorContract):
        valid = {"x-ticket": "a valid ticket"}
        invalid = [{"x-ticket": "an expired ticket"}]

        def make(self) -> Authenticator:
            return Tickets()

pytest and pytest-asyncio run every test of the contract on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import pytest

from mcp_server.errors import BadCredentials
from mcp_server.interfaces import Authenticator, Call
from mcp_server.values import SCOPES


class AuthenticatorContract:
    """What every authenticator does. Set the two attributes and override :meth:`make`, and :meth:`call` if the
    credentials are not in the metadata."""

    valid: ClassVar[Mapping[str, str]]
    """The metadata of a call with valid credentials."""
    invalid: ClassVar[Sequence[Mapping[str, str]]]
    """The metadata of calls whose credentials are of this kind and not valid, at least one."""

    def make(self) -> Authenticator:
        """A new authenticator."""
        raise NotImplementedError

    def call(self, metadata: Mapping[str, str]) -> Call:
        """A call with this metadata."""
        return Call(
            service="contextprotocol.v1.ChatService",
            method="StreamChat",
            kind="server_stream",
            peer="ipv4:127.0.0.1:1",
            metadata=dict(metadata),
        )

    @pytest.mark.asyncio
    async def test_valid_credentials_have_a_principal(self) -> None:
        """With a tenant, and scopes that exist."""
        principal = await self.make().authenticate(self.call(self.valid))
        assert principal is not None
        assert principal.tenant
        assert principal.scopes is None or principal.scopes <= set(SCOPES)

    @pytest.mark.asyncio
    async def test_credentials_stay_the_same(self) -> None:
        """While a stream runs, its call is authenticated again and again."""
        authenticator, call = self.make(), self.call(self.valid)
        assert await authenticator.authenticate(call) == await authenticator.authenticate(call)

    @pytest.mark.asyncio
    async def test_the_principal_does_not_contain_the_credentials(self) -> None:
        """It is kept longer than the call."""
        principal = await self.make().authenticate(self.call(self.valid))
        assert not [value for value in self.valid.values() if len(value) >= 16 and value in repr(principal)]

    @pytest.mark.asyncio
    async def test_a_call_without_credentials_is_left_to_others(self) -> None:
        """Nothing is wrong with it."""
        assert await self.make().authenticate(self.call({})) is None

    @pytest.mark.asyncio
    async def test_invalid_credentials_are_refused(self) -> None:
        """The message contains nothing of them."""
        assert self.invalid
        for metadata in self.invalid:
            with pytest.raises(BadCredentials) as refused:
                await self.make().authenticate(self.call(metadata))
            assert not [value for value in metadata.values() if len(value) >= 4 and value in refused.value.message]
