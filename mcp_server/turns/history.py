"""The history of a session, as a turn reads it: from its end, and no more than a model can use.

A history may have gigabytes. What was read for a prompt is let go when the prompt is made, since the turn may then wait
for minutes; a further call to a provider, which is rare, reads it again. A turn that commits has the session: nothing
changes meanwhile. Any other turn does not see the messages that have been added since it began.
"""

from __future__ import annotations

from typing import Final

from mcp_server.interfaces import Change, Store
from mcp_server.models.catalogue import Candidates
from mcp_server.sessions.changes import not_found
from mcp_server.token_estimates import BYTES_PER_TOKEN, tokens_of_messages
from mcp_server.values import Blob, MCPSession, Message, Part, ProviderStatePart, Role, ToolCall, ToolResult

MAX_BYTES: Final = 32 * 1024 * 1024
"""The most of a history that is read for one prompt."""
MIN_BYTES: Final = 64 * 1024
MAX_EXCHANGE: Final = 10_000
"""The most messages of one exchange that are read."""
READ_BATCH: Final = 16
"""How many further messages are read at once: each may have 3 MiB."""
_RESERVE: Final = 2
"""The text of so many windows is read: the tokens of some texts are longer than they are estimated."""


def size_for(candidates: Candidates) -> int:
    """How many bytes of a history the candidates can use, about. Images count little in a window and have more."""
    return max([_size_for(target.model.context_window) for target in candidates.targets])


def _size_for(context_window: int) -> int:
    if not context_window:
        return MAX_BYTES
    return min(max(_RESERVE * BYTES_PER_TOKEN * context_window, MIN_BYTES), MAX_BYTES)


class History:
    """The history of the session of a turn.

    Args:
        store: has it.
        session: the session as it was claimed.
        last: the last messages, as the claim has brought them. They are used for the first prompt. ``None``: they are
            read for it.
        max_messages: the most messages for a prompt, unless a single exchange has more.
    """

    def __init__(
        self, store: Store, session: MCPSession, last: tuple[Message, ...] | None, *, max_messages: int
    ) -> None:
        self._store = store
        self._session = session
        self.message_count = session.message_count
        """How many messages it has."""
        self._last = last
        self._max_messages = max_messages

    def release(self) -> None:
        """Let go of what the claim has brought."""
        self._last = None

    async def read(self, context_window: int) -> tuple[Message, ...]:
        """The end of the history, oldest first: all that a prompt for a model with that window may have, or more.

        Raises:
            SessionNotFound: the session was deleted meanwhile.
            StoreUnavailable: it cannot be read now.
        """
        messages, self._last = self._last, None
        if messages is None:
            messages = await self._end(_size_for(context_window))
        missing = self.message_count - len(messages)
        begun = any(message.role is Role.USER for message in messages)
        if not missing or not messages or (begun and len(messages) >= self._max_messages):
            return messages
        room = MAX_BYTES - sum(map(_size, messages))
        unused = (context_window or MAX_BYTES) - sum(tokens_of_messages(messages))
        while missing and room > 0:
            # The oldest exchange that was read must be whole if it is the only one.
            most = max(self._max_messages - len(messages), 0) if begun else MAX_EXCHANGE - len(messages)
            if not most or (begun and unused <= 0):
                break
            earlier = await self._before(missing)
            users = [index for index, message in enumerate(earlier) if message.role is Role.USER]
            earlier = earlier[-most:] if begun or not users else earlier[users[-1] :]
            if not earlier:
                break
            begun = begun or bool(users)
            missing -= len(earlier)
            room -= sum(map(_size, earlier))
            unused -= sum(tokens_of_messages(earlier))
            messages = (*earlier, *messages)
        return messages

    async def _end(self, size: int) -> tuple[Message, ...]:
        """The last messages, up to ``size`` bytes, but at least one."""
        session, change = self._session, Change(read_last=self._max_messages, read_bytes=size)
        changed = await self._store.change(session.tenant, session.id, lambda _: change)
        found = changed.stored.session
        if found is None or found.uid != session.uid:
            raise not_found(session.id)
        # The turn may not have the session, so that others have added messages, or removed some.
        added = max(found.message_count - self.message_count, 0)
        self.message_count = min(found.message_count, self.message_count)
        messages = changed.messages[: max(len(changed.messages) - added, 0)]
        return messages or await self._before(self.message_count)

    async def _before(self, first: int) -> tuple[Message, ...]:
        """Up to :data:`READ_BATCH` messages before the one with the index ``first``."""
        session = self._session
        return tuple(await self._store.messages(session.tenant, session.uid, max(first - READ_BATCH, 0), first))


def _size(message: Message) -> int:
    """About how many bytes a message takes in memory."""
    return sum([_part_size(part) for part in message.parts])


def _part_size(part: Part) -> int:
    if isinstance(part, ToolResult):
        return sum([_part_size(piece) for piece in part.parts])
    state = 0 if part.provider_state is None else len(part.provider_state.data)
    if isinstance(part, ProviderStatePart):
        return state
    if isinstance(part, Blob):
        return state + len(part.data)
    return state + len(part.arguments_json if isinstance(part, ToolCall) else part.text)
