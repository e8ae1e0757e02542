# Generated from mcp_client/_aio/chat.py by scripts/generate: edit that file.

"""The client's methods for chats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from mcp_client._core.requests import generation as requests
from mcp_client._core.requests.messages import Input
from mcp_client._core.responses.turns import unary_reply
from mcp_client._sync.calls import SyncCalls
from mcp_client._sync.stream import SyncTurnStream
from mcp_client.tools.tool import Tool
from mcp_client.values import Reply, Seconds, Session, ToolChoice, TurnOptions


class ChatMethods:
    """Chat with a model."""

    _calls: SyncCalls

    def chat(
        self,
        messages: Input,
        *,
        session: str | Session | None = None,
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
            tools: the tools that the model may call. Its answer then ends with the :class:`FinishReason`
                ``TOOL_CALLS``, and the next messages are one :meth:`Message.tool` for each of its
                ``message.tool_calls``. :meth:`chat_with_tools` does this for Python functions.
            tool_choice: ``"auto"``, ``"none"``, ``"required"``, or a :class:`ToolChoice`.
            truncation: what to do if the conversation does not fit into the model's context window: ``"auto"`` omits
                the oldest exchanges, ``"disabled"`` raises :class:`ContextTooLong`.
            timeout: the timeout of the call in seconds, including retries; ``None``: as long as the turn takes. If the
                caller stops waiting, by this timeout or because of Ctrl-C, the turn is cancelled; not with
                ``on_disconnect="continue"``.
            **options: :class:`TurnOptions`.

        Raises:
            SessionNotFound, SessionBusy, EtagMismatch, ModelNotFound, UnsupportedByModel, ContextTooLong,
            ProviderError, TurnTimeout …
        """
        request = requests.chat(
            messages, session=session, tools=tools, tool_choice=tool_choice, truncation=truncation, options=options
        )
        return unary_reply(self._calls.turn("ChatService.Chat", request, timeout))

    def stream_chat(
        self,
        messages: Input,
        *,
        session: str | Session | None = None,
        tools: Sequence[Tool] = (),
        tool_choice: ToolChoice | str | None = None,
        truncation: str = "auto",
        after_sequence: int | None = None,
        timeout: Seconds | None = None,
        **options: Unpack[TurnOptions],
    ) -> SyncTurnStream:
        """Send messages to a model and stream its answer. The arguments are those of :meth:`chat`.

        Args:
            after_sequence: resume the turn of an earlier call with the same arguments and the same ``request_id`` after
                this event. No new turn is started; one whose server process died is run again.

        Raises:
            TurnNotFound: ``after_sequence`` is given, and the turn does not exist.
        """
        request = requests.chat(
            messages,
            session=session,
            tools=tools,
            tool_choice=tool_choice,
            truncation=truncation,
            options=options,
            after_sequence=after_sequence,
        )
        return SyncTurnStream(self._calls, "ChatService.StreamChat", request, timeout)
