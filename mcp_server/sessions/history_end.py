"""The end of a history, read before a change that depends on it: messages cannot be read inside the store's step."""

from __future__ import annotations

from typing import Final

from mcp_server.interfaces import Store
from mcp_server.token_estimates import tokens_of_instruction, tokens_of_messages
from mcp_server.values import MCPSession, Message, Role, Struct

_BATCH: Final = 50
"""How many TOOL messages are read at once."""
_USAGE_BATCH: Final = 4
_USAGE_MESSAGES: Final = 16
"""How many messages are searched for the token counts of an answer: each may have 3 MiB."""


class HistoryChanged(Exception):
    """The session has changed since the end of its history was read."""


class HistoryEnd(Struct):
    """The end of a history, or of its first messages."""

    uid: str = ""
    """The session; empty: there is none."""
    etag: str = ""
    """Its etag when it was read."""
    messages: tuple[Message, ...] = ()
    """The last messages, from the last one on that is no TOOL message."""
    tokens: int = 0
    """About how many tokens a prompt has that ends here."""

    def check(self, session: MCPSession) -> None:
        """Refuse to rely on this end if the session may have another one now.

        Raises:
            HistoryChanged: it may.
        """
        if (self.uid, self.etag) != (session.uid, session.etag):
            raise HistoryChanged


async def history_end(store: Store, tenant: str, session_id: str, count: int | None = None) -> HistoryEnd:
    """The end of a session's history, or of its first ``count`` messages; an empty one if there is no such session."""
    session = await store.session(tenant, session_id)
    if session is None:
        return HistoryEnd()
    if count is None or count >= session.message_count:
        count, tokens = session.message_count, session.tokens
    else:
        tokens = await _tokens(store, session, count)
    messages = await _last_messages(store, session, count)
    return HistoryEnd(uid=session.uid, etag=session.etag, messages=messages, tokens=tokens)


async def _last_messages(store: Store, session: MCPSession, count: int) -> tuple[Message, ...]:
    start, history = count, list[Message]()
    while start > 0 and (not history or history[0].role is Role.TOOL):
        stop, start = start, max(start - (_BATCH if history else 1), 0)
        history[:0] = await store.messages(session.tenant, session.uid, start, stop)
    return tuple(history)


async def _tokens(store: Store, session: MCPSession, count: int) -> int:
    """About how many tokens a prompt has that ends with the first ``count`` messages.

    The last answer among them has counted those before it.
    """
    start, following = count, 0
    while start > 0 and count - start < _USAGE_MESSAGES:
        stop, start = start, max(start - _USAGE_BATCH, 0)
        messages = await store.messages(session.tenant, session.uid, start, stop)
        for message, tokens in zip(reversed(messages), reversed(tokens_of_messages(messages)), strict=True):
            if message.usage is not None:
                counted = message.usage.input_tokens + message.usage.output_tokens + following
                return _at_most(session, counted)
            following += tokens
    if start == 0:
        return _at_most(session, tokens_of_instruction(session) + following)
    # Nothing near has been counted: the messages before are taken to be as long as the average.
    before = max(session.tokens - tokens_of_instruction(session), 0) * start // session.message_count
    return _at_most(session, tokens_of_instruction(session) + before + following)


def _at_most(session: MCPSession, tokens: int) -> int:
    return min(max(tokens, tokens_of_instruction(session)), session.tokens)
