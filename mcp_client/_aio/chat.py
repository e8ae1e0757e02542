"""The client's methods for chats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, Unpack, overload

from contextprotocol.v1 import chat_pb2
from mcp_client._aio.calls import AsyncCalls
from mcp_client._aio.parsed_stream import ParsedTurnStream
from mcp_client._aio.stream import TurnStream
from mcp_client._core import structured
from mcp_client._core.call_defaults import CallDefaults
from mcp_client._core.deadline import Deadline
from mcp_client._core.requests import generation as requests
from mcp_client._core.requests.messages import Input, as_messages
from mcp_client._core.responses.turns import unary_reply
from mcp_client.errors import InvalidAnswer
from mcp_client.tools.tool import Tool
from mcp_client.values import ParsedReply, Reply, Seconds, Session, ToolChoice, TurnOptions

T = TypeVar("T")


class ChatMethods:
    """Chat with a model."""

    _calls: AsyncCalls
    _defaults: CallDefaults

    @overload
    async def chat(
        self,
        messages: Input,
        *,
        session: str | Session | None = None,
        schema: None = None,
        tools: Sequence[Tool] = (),
        tool_choice: ToolChoice | str | None = None,
        truncation: str = "auto",
        timeout: Seconds | None = None,
        **options: Unpack[TurnOptions],
    ) -> Reply: ...

    @overload
    async def chat(
        self,
        messages: Input,
        *,
        session: str | Session | None = None,
        schema: type[T],
        repair: bool = False,
        truncation: str = "auto",
        timeout: Seconds | None = None,
        **options: Unpack[TurnOptions],
    ) -> ParsedReply[T]: ...

    async def chat(
        self,
        messages: Input,
        *,
        session: str | Session | None = None,
        schema: type[Any] | None = None,
        repair: bool = False,
        tools: Sequence[Tool] = (),
        tool_choice: ToolChoice | str | None = None,
        truncation: str = "auto",
        timeout: Seconds | None = None,
        **options: Unpack[TurnOptions],
    ) -> Reply:
        """Send messages to a model and wait for its complete answer.

        Args:
            messages: the new messages; without a session, the whole conversation.
            session: provides history and context, and stores the new messages and the answer.
            schema: the type of the answer, of which ``parsed`` of the reply is a value: a dataclass, ``TypedDict``,
                ``msgspec.Struct``, pydantic model, or a list of them. The model is held to its JSON Schema.
            repair: whether an answer that does not conform to ``schema`` is followed by one more turn, which tells the
                model what is wrong.
            tools: the tools that the model may call. Its answer then ends with the :class:`FinishReason`
                ``TOOL_CALLS``, and the next messages are one :meth:`Message.tool` for each of its
                ``message.tool_calls``. :meth:`chat_with_tools` does this for Python functions, and can be combined
                with ``schema``.
            tool_choice: ``"auto"``, ``"none"``, ``"required"``, or a :class:`ToolChoice`.
            truncation: what to do if the conversation does not fit into the model's context window: ``"auto"`` omits
                the oldest exchanges, ``"disabled"`` raises :class:`ContextTooLong`.
            timeout: the timeout of the call in seconds, including retries; ``None``: as long as the turn takes. If the
                caller stops waiting, by this timeout or because its task is cancelled, the turn is cancelled; not with
                ``on_disconnect="continue"``.
            **options: :class:`TurnOptions`.

        Raises:
            SessionNotFound, SessionBusy, EtagMismatch, ModelNotFound, UnsupportedByModel, ContextTooLong,
            ProviderError, TurnTimeout …
            InvalidAnswer: the answer does not conform to ``schema``.
        """
        expected = structured.answer_type(schema, repair=repair, tools=tools, options=options)
        if expected is None:
            request = self._chat_request(messages, session, tools, tool_choice, truncation, options)
            return await self._reply(request, timeout)
        options = structured.with_schema(options, expected)
        if repair:
            requests.check_rounds(options, 1)
        deadline = Deadline(timeout)
        conversation = as_messages(messages)
        request = self._chat_request(conversation, session, tools, tool_choice, truncation, options)
        reply = await self._reply(request, timeout)
        try:
            return structured.parsed(reply, expected)
        except InvalidAnswer as error:
            if not repair:
                raise
            again = structured.correction(reply, error, () if request.session else conversation)
        request = self._chat_request(again, session, tools, tool_choice, truncation, requests.of_round(options, 1))
        return structured.parsed(await self._reply(request, deadline.left()), expected, reply)

    @overload
    def stream_chat(
        self,
        messages: Input,
        *,
        session: str | Session | None = None,
        schema: None = None,
        tools: Sequence[Tool] = (),
        tool_choice: ToolChoice | str | None = None,
        truncation: str = "auto",
        after_sequence: int | None = None,
        timeout: Seconds | None = None,
        **options: Unpack[TurnOptions],
    ) -> TurnStream: ...

    @overload
    def stream_chat(
        self,
        messages: Input,
        *,
        session: str | Session | None = None,
        schema: type[T],
        truncation: str = "auto",
        after_sequence: int | None = None,
        timeout: Seconds | None = None,
        **options: Unpack[TurnOptions],
    ) -> ParsedTurnStream[T]: ...

    def stream_chat(
        self,
        messages: Input,
        *,
        session: str | Session | None = None,
        schema: type[Any] | None = None,
        tools: Sequence[Tool] = (),
        tool_choice: ToolChoice | str | None = None,
        truncation: str = "auto",
        after_sequence: int | None = None,
        timeout: Seconds | None = None,
        **options: Unpack[TurnOptions],
    ) -> TurnStream:
        """Send messages to a model and stream its answer. The arguments are those of :meth:`chat`.

        Args:
            schema: the type of the answer. The stream yields its text, and afterwards has the value as ``parsed``.
            after_sequence: resume the turn of an earlier call with the same arguments and the same ``request_id`` after
                this event. No new turn is started; one whose server process died is run again.

        Raises:
            TurnNotFound: ``after_sequence`` is given, and the turn does not exist.
        """
        expected = structured.answer_type(schema, repair=False, tools=tools, options=options)
        options = structured.with_schema(options, expected)
        request = self._chat_request(messages, session, tools, tool_choice, truncation, options, after_sequence)
        if expected is not None:
            return ParsedTurnStream(self._calls, "ChatService.StreamChat", request, timeout, expected=expected)
        return TurnStream(self._calls, "ChatService.StreamChat", request, timeout)

    async def _reply(self, request: chat_pb2.ChatRequest, timeout: Seconds | None) -> Reply:
        if request.config.HasField("logprobs"):  # only events have them
            async with TurnStream(self._calls, "ChatService.StreamChat", request, timeout) as stream:
                return await stream.reply()
        return unary_reply(await self._calls.turn("ChatService.Chat", request, timeout))

    def _chat_request(
        self,
        messages: Input,
        session: str | Session | None,
        tools: Sequence[Tool],
        tool_choice: ToolChoice | str | None,
        truncation: str,
        options: TurnOptions,
        after_sequence: int | None = None,
    ) -> chat_pb2.ChatRequest:
        """The request, with the defaults of the client."""
        return requests.chat(
            messages,
            session=self._defaults.session_of(session),
            tools=tools,
            tool_choice=tool_choice,
            truncation=truncation,
            options=self._defaults.merged(options),
            after_sequence=after_sequence,
        )
