"""Counts the tokens of the prompt of a chat, as its window does, without sending it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
import structlog

from mcp_server.errors import MCPError
from mcp_server.interfaces import ContextType, GenerateRequest, TokenCounter
from mcp_server.models.target import Target
from mcp_server.turns.kinds import ChatInput, Conversation, Prompt
from mcp_server.values import Struct

replace = msgspec.structs.replace
log = structlog.get_logger("contextprotocol.turns")

COUNT_SECONDS: Final = 10.0
"""How long a provider may take to count a prompt, loading its model included. Then the tokens are estimated."""

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class TokenCount(Struct):
    """The length of a prompt."""

    tokens: int
    """The number of its tokens."""
    exact: bool
    """Whether the provider counted them; else they are estimated."""
    model: str
    """The ``provider/model`` for which they were counted."""


async def count_tokens(
    input: ChatInput,
    conversation: Conversation,
    target: Target,
    context_types: Mapping[str, ContextType],
) -> TokenCount:
    """Count the tokens of a chat's prompt.

    Args:
        input: what is asked; in a session, its messages may be empty.
        conversation: the session, and its history.
        target: the model.
        context_types: render the session's context.

    Raises:
        ToolResultsMissing, InvalidArgument, UnsupportedByModel: as of a chat.
    """

    async def prompt(counter: TokenCounter | None) -> Prompt:
        counted = replace(target, token_counter=counter)
        return await input.build_prompt(conversation, counted, context_types, None, must_fit=False)

    if target.token_counter is not None:
        counter = _Counter(target.token_counter)
        try:
            tokens = await counter.count_tokens((await prompt(counter)).request)
        except _NotCounted as failure:
            error = failure.__cause__
            problem = error.message if isinstance(error, MCPError) else f"{type(error).__name__}: {error}"
            log.warning("provider cannot count tokens", model=target.name, error=problem)
        else:
            return TokenCount(tokens=tokens, exact=True, model=target.name)
    return TokenCount(tokens=(await prompt(None)).window.input_tokens, exact=False, model=target.name)


class _NotCounted(Exception):
    """The provider could not count. What is wrong with the prompt is raised as it is."""


class _Counter:
    """A provider that counts in time, or raises :class:`_NotCounted`.

    The time is that of all counts together: a long history is counted several times until it fits.
    """

    def __init__(self, counter: TokenCounter) -> None:
        self._counter = counter
        self._until = asyncio.get_running_loop().time() + COUNT_SECONDS

    async def count_tokens(self, request: GenerateRequest, /) -> int:
        """The number of tokens of the whole prompt."""
        try:
            async with asyncio.timeout_at(self._until):
                tokens = await self._counter.count_tokens(request)
            return msgspec.convert(tokens, _Count)  # plug-ins may return anything
        except Exception as error:
            raise _NotCounted from error
