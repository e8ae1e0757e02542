"""An observer of somebody else's that raises disturbs no turn."""

from __future__ import annotations

from collections.abc import Sequence

from contextprotocol.v1 import chat_pb2
from mcp_server.testing import ScriptedProvider
from mcp_server.values import Attempt, Turn
from tests.conftest import Serve
from tests.wire import text_of, user


class Broken:
    """Raises at everything that it is notified of."""

    def __init__(self) -> None:
        self.notified: list[str] = []

    def turn_started(self, turn: Turn, /) -> None:
        self.notified.append("turn_started")
        raise ValueError("a bug")

    def turn_ended(self, turn: Turn, /) -> None:
        self.notified.append("turn_ended")
        raise ValueError("a bug")

    def attempts_ended(self, service: str, attempts: Sequence[Attempt], /) -> None:
        self.notified.append("attempts_ended")
        raise ValueError("a bug")


async def test_an_observer_that_raises_disturbs_no_turn(serve: Serve) -> None:
    """It is notified of all the same, and so are those after it."""
    first, second = Broken(), Broken()
    wire = await serve(providers={"s": ScriptedProvider.saying("fine")}, observers=[first, second])
    answer = await wire.chat.Chat(chat_pb2.ChatRequest(messages=[user("Hello")]))
    assert text_of(answer.completed.message) == "fine"
    await wire.server.idle()
    assert first.notified == second.notified == ["turn_started", "attempts_ended", "turn_ended"]
