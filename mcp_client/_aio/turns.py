"""The client's methods for turns."""

from __future__ import annotations

from contextprotocol.v1 import turn_pb2
from mcp_client._aio.calls import AsyncCalls
from mcp_client._aio.listing import Listing
from mcp_client._aio.stream import TurnStream
from mcp_client._core.requests import turns as requests
from mcp_client._core.requests.names import turn_name
from mcp_client._core.responses import turns as responses
from mcp_client.values import Seconds, Session, Turn


class TurnMethods:
    """Read, watch and cancel turns."""

    _calls: AsyncCalls

    async def get_turn(self, turn: str | Turn, *, timeout: Seconds | None = None) -> Turn:
        """Get a turn, with its answer so far.

        Raises:
            TurnNotFound: the turn does not exist, or is past the retention period.
        """
        request = turn_pb2.GetTurnRequest(name=turn_name(turn))
        return responses.turn(await self._calls.unary("TurnService.GetTurn", request, timeout))

    def list_turns(
        self, session: str | Session, *, page_size: int = 0, page_token: str = "", timeout: Seconds | None = None
    ) -> Listing[Turn]:
        """List the turns of a session within the retention period, newest first, without their messages.

        Pages are fetched while the list is read, from ``page_token`` on; ``timeout`` applies to each page.

        Raises:
            SessionNotFound: the session does not exist.
        """
        request = requests.list_turns(session, page_size=page_size)
        return Listing(
            self._calls,
            "TurnService.ListTurns",
            request,
            lambda page: [responses.turn(turn) for turn in page.turns],
            page_token=page_token,
            timeout=timeout,
        )

    def stream_turn(self, turn: str | Turn, *, after_sequence: int = 0, timeout: Seconds | None = None) -> TurnStream:
        """Watch a turn, live or replayed. Any number of readers may watch; each receives all events.

        Args:
            turn: its full name.
            after_sequence: start after this event; 0: at the first.
            timeout: the timeout of the call in seconds; ``None``: as long as the turn takes.

        Raises:
            TurnNotFound: the turn does not exist, or is past the retention period.
            SequenceUnknown: the turn has no such event.
            TurnInterrupted: the server process died, and the original caller has not resumed the turn.
        """
        request = requests.stream_turn(turn, after_sequence)
        return TurnStream(self._calls, "TurnService.StreamTurn", request, timeout, turn=turn_name(turn), watches=True)

    async def cancel_turn(self, turn: str | Turn, *, timeout: Seconds | None = None) -> Turn:
        """Cancel a turn, and return it in its final state: cancelled, unless it had already ended.

        Raises:
            TurnNotFound: the turn does not exist, or is past the retention period.
        """
        request = turn_pb2.CancelTurnRequest(name=turn_name(turn))
        return responses.turn(await self._calls.unary("TurnService.CancelTurn", request, timeout))
