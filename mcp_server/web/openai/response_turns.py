"""Begins the turn of a response, in the session to which it belongs."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import msgspec

from mcp_server import rules
from mcp_server.errors import (
    EtagMismatch,
    MCPError,
    SessionBusy,
    SessionExists,
    SessionNotFound,
    TurnNotFound,
    Violation,
)
from mcp_server.gateway import ChatInput, Gateway, TurnReader
from mcp_server.principal import Principal
from mcp_server.values import SECOND, Event, Heartbeat, Queued, SessionDraft, SessionUpdate, Started, TurnState
from mcp_server.web.exchange import HTTPProblem
from mcp_server.web.openai.identifiers import (
    TurnId,
    conversation_id,
    parse_conversation_id,
    parse_response_id,
    response_id,
    turn_of_name,
)
from mcp_server.web.openai.response_parameters import PromptParameters

replace = msgspec.structs.replace
TEMPORARY: Final = 600 * SECOND
"""How long a copy of a history lives that is only read."""

Numbered = tuple[int, Event]
MakeChat = Callable[[str, int | None], ChatInput]
"""Makes the request for a session, from its id (empty: without a session) and the length that its history must have."""


class BegunTurn(msgspec.Struct, frozen=True, kw_only=True):
    """A turn that has begun."""

    reader: TurnReader
    """Reads it; whoever has it closes it."""
    first: Numbered
    """Its first event."""
    rest: AsyncIterator[Numbered]
    """The events that follow."""
    turn: TurnId
    """Its ids."""


class ResponseTurns:
    """Begins turns of responses, or finds those that their requests began before.

    Args:
        gateway: carries them out.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def in_new_session(self, principal: Principal, chat: MakeChat, instruction: str) -> BegunTurn:
        """In a session that begins with it, and with this instruction."""
        request = chat("new", None)
        rules.refuse(request.violations())  # nothing is created for it
        key = request.options.request_id
        draft = SessionDraft(system_instruction=instruction)
        session = await self._gateway.create_session(principal, "", draft, request_id=derived("response", key))
        try:
            return await self._open(principal, chat(session.id, None))
        except MCPError:
            if not key:  # nobody knows it
                with contextlib.suppress(MCPError):
                    await self._gateway.delete_session(principal, session.id)
            raise

    async def without_session(self, principal: Principal, chat: MakeChat, found: Sequence[Violation] = ()) -> BegunTurn:
        """In no session; refused with all that is wrong if anything was found before."""
        return await self._open(principal, chat("", None), found)

    async def in_conversation(self, principal: Principal, chat: MakeChat, conversation: str) -> BegunTurn:
        """In a conversation.

        Raises:
            HTTPProblem: the conversation is busy, or not there.
        """
        session = parse_conversation_id(conversation)
        if not session:
            raise conversation_not_found(conversation)
        try:
            return await self._open(principal, chat(session, None))
        except SessionNotFound:
            raise conversation_not_found(conversation) from None
        except SessionBusy as busy:
            raise conversation_locked(session, busy) from None

    async def after(self, principal: Principal, chat: MakeChat, previous: str) -> BegunTurn:
        """After another response: in its session if nothing else has followed there, else in a fork of it.

        Raises:
            HTTPProblem: there is no such response that can be continued.
        """
        turn, length = await self.history_of(principal, previous)
        request = chat(turn.session, length)
        key = request.options.request_id
        copy = derived(previous, key)[:40] if key else ""
        if key:  # it may have gone into a fork although it would not now
            with contextlib.suppress(TurnNotFound, SessionNotFound):
                return await self._open(principal, _resuming(chat(copy, length)))
        with contextlib.suppress(SessionBusy, EtagMismatch):
            return await self._open(principal, request)
        session = await self.fork(principal, turn.session, length, new_id=copy, temporary=not request.options.commit)
        return await self._open(principal, chat(session, length))

    async def fork(
        self, principal: Principal, session: str, length: int, *, new_id: str = "", temporary: bool = False
    ) -> str:
        """The id of a new session with the first messages of another.

        Args:
            principal: the caller.
            session: the other.
            length: how many messages.
            new_id: the id of the new one, and the key of the call, so that it is carried out once; or empty.
            temporary: whether it is needed only for a short while.
        """
        gateway = self._gateway
        try:
            fork = await gateway.fork_session(
                principal, session, new_id=new_id, message_count=length, request_id=new_id
            )
        except SessionExists:  # the key is older than what the server remembers
            fork = await gateway.fork_session(principal, session, message_count=length)
        if temporary:
            await gateway.update_session(principal, fork.id, SessionUpdate(fields={"ttl": TEMPORARY}))
        return fork.id

    async def history_of(self, principal: Principal, previous: str) -> tuple[TurnId, int]:
        """The turn of a response, and how many messages its session had after it.

        Raises:
            HTTPProblem: there is no such response that can be continued.
        """
        turn = parse_response_id(previous)
        if turn is None:
            raise _not_continuable(f"response {previous[:100]!r} not found: this is not the id of a response")
        try:
            return turn, await self._gateway.find_turn_message(principal, turn.session, turn.turn) + 1
        except TurnNotFound:
            problem = "unknown id, not stored, deleted, or with its conversation deleted or expired"
        with contextlib.suppress(TurnNotFound):
            state = (await self._gateway.get_turn(principal, turn.session, turn.turn)).state
            problem = _PROBLEMS.get(state, "it did not succeed, and has left nothing in the history")
        raise _not_continuable(f"response {previous} cannot be continued: {problem}")

    async def session_to_read(self, principal: Principal, parameters: PromptParameters) -> tuple[str, bool]:
        """The session whose history precedes a prompt, or empty; and whether it is a copy, to be deleted.

        Raises:
            HTTPProblem: it is not there.
        """
        if (conversation := parameters.conversation_id) is not None:
            session = parse_conversation_id(conversation)
            try:
                return (await self._gateway.get_session(principal, session)).id, False
            except SessionNotFound:
                raise conversation_not_found(conversation) from None
        if parameters.previous_response_id is None:
            return "", False
        turn, length = await self.history_of(principal, parameters.previous_response_id)
        if (await self._gateway.get_session(principal, turn.session)).message_count == length:
            return turn.session, False
        return await self.fork(principal, turn.session, length, temporary=True), True

    async def _open(self, principal: Principal, chat: ChatInput, found: Sequence[Violation] = ()) -> BegunTurn:
        reader = await self._gateway.chat(principal, chat, violations=found)
        reader.skip_abandoned()
        try:
            rest = aiter(reader)
            first = await anext(rest)
            while type(first[1]) is Heartbeat:
                first = await anext(rest)
        except BaseException:
            reader.close()
            raise
        event = first[1]
        assert isinstance(event, Queued | Started)
        return BegunTurn(reader=reader, first=first, rest=rest, turn=turn_of_name(event.turn))


_PROBLEMS: Final = {
    TurnState.QUEUED: "it has not ended yet",
    TurnState.RUNNING: "it has not ended yet",
    TurnState.SUCCEEDED: "it was not stored",
}


def derived(scope: str, key: str) -> str:
    """A key of the server for one purpose, made of the key of a caller; empty if that is empty."""
    return "r" + hashlib.sha256(f"{scope}\n{key}".encode()).hexdigest() if key else ""


def _resuming(chat: ChatInput) -> ChatInput:
    """The request, which begins no turn if it has not begun one before."""
    return replace(chat, options=replace(chat.options, after_sequence=0))


def conversation_not_found(conversation: str) -> HTTPProblem:
    """The error of a request that names a conversation that is not there."""
    message = f"conversation {conversation[:100]!r} not found: unknown id, deleted or expired"
    return HTTPProblem(404, "CONVERSATION_NOT_FOUND", message, param="conversation")


def conversation_locked(session: str, busy: SessionBusy) -> HTTPProblem:
    """The error of a request that would change a conversation while a response is written in it."""
    turn = turn_of_name(busy.metadata.get("turn", ""))
    running = f" {response_id(turn)}" if turn.turn else ""
    return HTTPProblem(
        400,
        "CONVERSATION_LOCKED",
        f"the response{running} is being written in conversation {conversation_id(session)}: wait for it, or cancel it",
        param="conversation",
    )


def _not_continuable(message: str) -> HTTPProblem:
    return HTTPProblem(400, "PREVIOUS_RESPONSE_NOT_FOUND", message, param="previous_response_id")
