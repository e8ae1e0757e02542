"""The queue of a session: whose turn it is to try."""

from __future__ import annotations

from mcp_server.turns.live import LiveTurn
from mcp_server.turns.queue import SessionQueues
from mcp_server.values import IfBusy, Turn, TurnState


def turn(id: str, if_busy: IfBusy = IfBusy.REJECT) -> LiveTurn:
    record = Turn(tenant="default", id=id, service="chat", state=TurnState.RUNNING, create_time=0, session="tour")
    return LiveTurn(record, if_busy)


def test_only_the_end_of_the_running_turn_lets_the_next_one_try() -> None:
    """Each try is a write: one for every call that a busy session refuses would be in vain."""
    queues: SessionQueues[LiveTurn] = SessionQueues(max_waiting=8)
    running, waiting, refused = turn("t1"), turn("t2", IfBusy.QUEUE), turn("t3")
    for each in (running, waiting, refused):
        queues.join(each)
    queues.start(running)
    assert (queues.leave(refused), queues.heads()) == (None, [])
    assert queues.leave(running) is waiting
    assert queues.heads() == [waiting]
    assert (queues.leave(waiting), len(queues)) == (None, 0)
