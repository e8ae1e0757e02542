"""Test doubles: providers that cost nothing, and a whole server in a line.

::

    async with running(providers={"echo": EchoProvider()}) as server:
        async with MCPClient(server.address) as client:
            reply = await client.chat("hello")

The tests that every implementation of an interface must pass are in :mod:`mcp_server.testing.contracts`.
"""

from mcp_server.testing.providers import EchoProvider, Gate, ScriptedProvider, Step
from mcp_server.testing.server import running

__all__ = ["EchoProvider", "Gate", "ScriptedProvider", "Step", "running"]
