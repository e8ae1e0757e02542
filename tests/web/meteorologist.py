"""A model that does whatever the clients of others can ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator

from mcp_server.interfaces import Finish, GenerateRequest, ProviderEvent, ToolArgumentsDelta, ToolCallStart
from mcp_server.testing import ScriptedProvider
from mcp_server.values import FinishReason, ResponseFormat, Role
from tests.web.openai.test_chat import USAGE


class Meteorologist(ScriptedProvider):
    """Asks for the weather if it can, and answers in the form that is wanted."""

    async def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        """One of three answers."""
        if request.tools and request.messages[-1].role is not Role.TOOL:
            yield ToolCallStart(id="call_1", name=request.tools[0].name)
            yield ToolArgumentsDelta(id="call_1", text='{"city": "Rome"}')
            yield Finish(reason=FinishReason.TOOL_CALLS, usage=USAGE)
            return
        structured = request.config.response_format is not ResponseFormat.TEXT
        for piece in ('{"city": ', '"Rome"}') if structured else ("It is ", "sunny."):
            yield piece
        yield Finish(usage=USAGE)
