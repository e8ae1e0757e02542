"""The use cases of turns that have begun."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence

from mcp_server import rules
from mcp_server.errors import SessionNotFound, TurnNotFound, Violation
from mcp_server.gateway.sessions import SessionUseCases
from mcp_server.principal import Principal
from mcp_server.turns.claims import turn_not_found
from mcp_server.turns.log import TurnReader
from mcp_server.values import Turn, turn_name


class TurnUseCases(SessionUseCases):
    """Read, find, cancel and hide turns."""

    async def get_turn(
        self, principal: Principal, session_id: str, turn_id: str, *, violations: Sequence[Violation] = ()
    ) -> Turn:
        """A turn as it is now, with its answer as far as it is known; ``session_id`` is empty if it has no session.

        Raises:
            TurnNotFound: it does not exist, its session was deleted, or it is past the retention period.
        """
        rules.refuse(violations)
        return await self._turns.get(principal.tenant, session_id, turn_id)

    async def list_turns(
        self,
        principal: Principal,
        session_id: str,
        *,
        limit: int,
        before: str = "",
        violations: Sequence[Violation] = (),
    ) -> Sequence[Turn]:
        """Up to ``limit`` turns of a session, the newest first; only those older than the one with the id ``before``.

        Raises:
            SessionNotFound: it does not exist, or has expired.
        """
        rules.refuse(violations)
        session = await self._sessions.get(principal.tenant, session_id)
        return await self._turns.list(session, limit=limit, before=before)

    async def read_turn(
        self,
        principal: Principal,
        session_id: str,
        turn_id: str,
        *,
        after_sequence: int = 0,
        violations: Sequence[Violation] = (),
    ) -> TurnReader:
        """A reader of a turn's events after ``after_sequence``, live or from the record.

        Raises:
            TurnNotFound: as :meth:`get_turn`.
        """
        rules.refuse(violations)
        return await self._turns.read(principal.tenant, session_id, turn_id, after_sequence)

    async def cancel_turn(
        self, principal: Principal, session_id: str, turn_id: str, *, violations: Sequence[Violation] = ()
    ) -> Turn:
        """Stop a turn and return it as it ended: cancelled, or otherwise if that came first.

        Raises:
            TurnNotFound: as :meth:`get_turn`.
        """
        rules.refuse(violations)
        return await self._turns.cancel(principal.tenant, session_id, turn_id)

    async def hide_turn(
        self, principal: Principal, session_id: str, turn_id: str, *, violations: Sequence[Violation] = ()
    ) -> None:
        """Let nobody find a turn any more: to every other use case it does not exist, and its ``request_id`` is unused.
        It is stopped if it runs. The messages that it has added to the history stay.

        A turn that is past the retention period can be hidden from :meth:`find_turn_message`.

        Raises:
            TurnNotFound: as :meth:`get_turn`, and the history has no message of it.
            InvalidArgument: the session has 1000 hidden turns with messages, the maximum.
        """
        rules.refuse(violations)
        try:
            await self._turns.hide(principal.tenant, session_id, turn_id)
        except TurnNotFound:
            if not session_id:
                raise
            await self.find_turn_message(principal, session_id, turn_id)
            await self._sessions.hide_turn(principal.tenant, session_id, turn_id)

    async def find_turn_message(
        self,
        principal: Principal,
        session_id: str,
        turn_id: str,
        *,
        include_hidden: bool = False,
        violations: Sequence[Violation] = (),
    ) -> int:
        """The index of the last message that a turn has added to the history of its session. It is found as long as the
        session keeps the message, also when the turn is past the retention period. The history is read from its newer
        end: it takes the longer the older the turn is.

        Raises:
            TurnNotFound: the session does not exist, or has no message of that turn; or the turn is hidden, unless
                ``include_hidden`` is set.
        """
        rules.refuse(violations)
        name = turn_name(session_id, turn_id)
        messages = self.list_messages(principal, session_id, limit=sys.maxsize, newest_first=True)
        with contextlib.suppress(SessionNotFound):
            session = await self._sessions.get(principal.tenant, session_id)
            if turn_id in session.hidden_turns and not include_hidden:
                raise turn_not_found(name)
            async with contextlib.aclosing(messages):
                async for message in messages:
                    if message.turn == name:
                        return message.index
        raise turn_not_found(name)
