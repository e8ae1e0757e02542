"""The client's methods for chats in which it runs functions for the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, Unpack, overload

from mcp_client._aio.chat import ChatMethods
from mcp_client._aio.stream import TurnStream
from mcp_client._aio.tool_stream import ToolStream
from mcp_client._core import structured
from mcp_client._core.arguments import seconds
from mcp_client._core.requests.generation import check_rounds, of_round
from mcp_client._core.requests.messages import Input, as_messages
from mcp_client.tools.toolset import ToolSet
from mcp_client.values import Message, ParsedReply, Reply, Seconds, Session, ToolChoice, TurnOptions

T = TypeVar("T")


class ToolChatMethods(ChatMethods):
    """Chat with a model that may call Python functions."""

    @overload
    async def chat_with_tools(
        self,
        messages: Input,
        *,
        tools: Sequence[Callable[..., Any]],
        session: str | Session | None = None,
        schema: None = None,
        tool_choice: ToolChoice | str | None = None,
        max_rounds: int = 8,
        truncation: str = "auto",
        timeout: Seconds | None = None,
        **options: Unpack[TurnOptions],
    ) -> Reply: ...

    @overload
    async def chat_with_tools(
        self,
        messages: Input,
        *,
        tools: Sequence[Callable[..., Any]],
        session: str | Session | None = None,
        schema: type[T],
        tool_choice: ToolChoice | str | None = None,
        max_rounds: int = 8,
        truncation: str = "auto",
        timeout: Seconds | None = None,
        **options: Unpack[TurnOptions],
    ) -> ParsedReply[T]: ...

    async def chat_with_tools(
        self,
        messages: Input,
        *,
        tools: Sequence[Callable[..., Any]],
        session: str | Session | None = None,
        schema: type[Any] | None = None,
        tool_choice: ToolChoice | str | None = None,
        max_rounds: int = 8,
        truncation: str = "auto",
        timeout: Seconds | None = None,
        **options: Unpack[TurnOptions],
    ) -> Reply:
        """Send messages to a model, run the functions that it calls, and wait for its final answer.

        The model is given the name and the docstring of each function (an ``Args:`` section describes the parameters)
        and the JSON Schema of its parameters: of all types that msgspec supports, for example dates, ``UUID``,
        ``Decimal``, ``Literal``, enums, dataclasses and ``TypedDict``, and of pydantic models. The calls of one answer
        run concurrently, whether the functions are asynchronous or not. The return value is sent to the model as text
        or as JSON, an exception as an error that the model can react to.

        Each round is a turn. With a ``request_id``, the later rounds append ``.1``, ``.2`` … to it: the same call again
        runs the functions again, and reaches the same turns if they return the same results. The session is only busy
        while a turn runs: other calls to it between two rounds fail with :class:`ToolResultsMissing`, even with
        ``if_busy="queue"``.

        Args:
            messages: as in :meth:`chat`.
            tools: the functions. Those that are not asynchronous run in threads of their own.
            session: as in :meth:`chat`.
            schema: the type of the final answer, as in :meth:`chat`.
            tool_choice: of the first round; in the others the model decides.
            max_rounds: how many rounds of tool calls the model may make before it has to answer without tools.
            truncation: as in :meth:`chat`.
            timeout: the timeout of all rounds together, in seconds. Functions that still run then are abandoned:
                asynchronous ones are cancelled, the others run to their end in their threads.
            **options: :class:`TurnOptions` of each round; ``etag`` applies to the first.

        Raises:
            TypeError: a function cannot be described to a model.
            ToolRoundsExceeded: the model calls tools even when it has to answer without.
            DeadlineExceeded: the timeout passed.
            InvalidAnswer: the final answer does not conform to ``schema``.
        """
        expected = structured.answer_type(schema, repair=False, options=options)
        stream = self.stream_chat_with_tools(
            messages,
            tools=tools,
            session=session,
            tool_choice=tool_choice,
            max_rounds=max_rounds,
            truncation=truncation,
            timeout=timeout,
            **structured.with_schema(options, expected),
        )
        async with stream:
            reply = await stream.reply()
        return reply if expected is None else structured.parsed(reply, expected)

    def stream_chat_with_tools(
        self,
        messages: Input,
        *,
        tools: Sequence[Callable[..., Any]],
        session: str | Session | None = None,
        tool_choice: ToolChoice | str | None = None,
        max_rounds: int = 8,
        truncation: str = "auto",
        timeout: Seconds | None = None,
        **options: Unpack[TurnOptions],
    ) -> ToolStream:
        """The same as a stream. The arguments are those of :meth:`chat_with_tools`."""
        check_rounds(options, max_rounds)
        toolset = ToolSet(tools)

        def start_turn(
            new: Sequence[Message], number: int, choice: ToolChoice | str | None, left: float | None
        ) -> TurnStream:
            return self.stream_chat(
                new,
                session=session,
                tools=toolset.tools,
                tool_choice=choice,
                truncation=truncation,
                timeout=left,
                **of_round(options, number),
            )

        return ToolStream(
            start_turn,
            toolset,
            as_messages(messages),
            in_session=self._defaults.session_of(session) is not None,
            tool_choice=tool_choice,
            max_rounds=max_rounds,
            timeout=None if timeout is None else seconds("timeout", timeout),
        )
