"""The contract of middleware, as tests for their authors::

    class TestAudit(MiddlewareContract):
        def make(self) -> Middleware:
            return Audit()

pytest and pytest-asyncio run every test of the contract on it.
"""

from __future__ import annotations

import asyncio

import pytest

from mcp_server.errors import ModelNotFound
from mcp_server.interfaces import Call, Middleware


def call(kind: str = "unary") -> Call:
    """A call to the chat service."""
    method = "Chat" if kind == "unary" else "StreamChat"
    return Call(
        service="contextprotocol.v1.ChatService", method=method, kind=kind, peer="ipv4:127.0.0.1:1", metadata={}
    )


class MiddlewareContract:
    """What all middleware does with calls that it admits. Override :meth:`make`, and :meth:`call` if it needs more."""

    def make(self) -> Middleware:
        """New middleware."""
        raise NotImplementedError

    def call(self, kind: str = "unary") -> Call:
        """A call that it admits."""
        return call(kind)

    @pytest.mark.asyncio
    @pytest.mark.parametrize("kind", ["unary", "server_stream"])
    async def test_a_call_passes(self, kind: str) -> None:
        """Its body runs, once."""
        admitted, bodies = self.call(kind), 0
        async with self.make()(admitted):
            bodies += 1
            admitted.reason = admitted.code = "OK"
        assert bodies == 1

    @pytest.mark.asyncio
    async def test_an_error_is_not_swallowed(self) -> None:
        """The caller must receive it."""
        failing = self.call()
        with pytest.raises(ModelNotFound):
            async with self.make()(failing):
                failing.reason, failing.code = "MODEL_NOT_FOUND", "NOT_FOUND"
                raise ModelNotFound("there is no such model")

    @pytest.mark.asyncio
    async def test_a_cancellation_is_not_swallowed(self) -> None:
        """A caller that disconnects ends the call."""
        middleware, entered = self.make(), asyncio.Event()

        async def serve() -> None:
            async with middleware(self.call()):
                entered.set()
                await asyncio.Event().wait()

        serving = asyncio.create_task(serve())
        await entered.wait()
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving

    @pytest.mark.asyncio
    async def test_calls_overlap(self) -> None:
        """One object serves all calls: none waits for another."""
        middleware, calls = self.make(), [self.call(), self.call("server_stream"), self.call()]
        together = asyncio.Barrier(len(calls))

        async def serve(one: Call) -> None:
            async with middleware(one):
                await together.wait()
                one.reason = one.code = "OK"

        async with asyncio.timeout(10):
            await asyncio.gather(*[serve(one) for one in calls])
