# Generated from tests/interop/python/cases.py by scripts/generate: edit that file.

"""The cases of tests/interop with the blocking client: python -m tests.interop.python_blocking.cases ADDRESS CASE"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final

import grpc

from mcp_client import (
    ContextEntry,
    Delta,
    Heartbeat,
    MCPError,
    MCPSyncClient,
    PartStarted,
    Session,
    SyncTurnStream,
    TurnCompleted,
    TurnQueued,
    TurnStarted,
)

KINDS: Final[Mapping[type, str]] = {
    TurnStarted: "started",
    PartStarted: "part_started",
    Delta: "delta",
    TurnCompleted: "completed",
}
"""Events by the names that the contract has for them."""


def say(line: Any) -> None:
    """Tell the test something."""
    print(json.dumps(line), flush=True)  # noqa: T201  # the test reads it


def pause(what: str) -> None:
    """Let the test do what is its part. Nothing else happens here meanwhile: an event loop stands still."""
    say({"pause": what})
    sys.stdin.readline()


class Refused:
    """A block that must end with an error of a server, which is ``found`` then."""

    found: Mapping[str, Any]

    def __enter__(self) -> Refused:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, MCPError):
            assert error is not None, "the call was not refused"
            return False
        code = grpc.StatusCode[error.code].value[0]
        self.found = {"code": code, "reason": error.reason, "metadata": dict(error.metadata)}
        return True


def til(stream: SyncTurnStream, kind: type) -> Any:
    """Read on until an event of that kind."""
    for event in stream.events():
        if isinstance(event, kind):
            return event
    raise AssertionError(f"the stream ended without {kind.__name__}")


def rest(stream: SyncTurnStream) -> str:
    """Read a stream to its end: the text that comes."""
    return "".join(list(stream))


class Cases:
    """The cases, one a method."""

    def __init__(self, client: MCPSyncClient) -> None:
        self._client = client

    def create(self) -> Any:
        first, again = [self._begun() for _ in range(2)]
        session = self._client.get_session(first)
        return {
            "names": [first.name, again.name],
            "labels": dict(session.labels),
            "system_instruction": session.system_instruction,
            "ttl": session.ttl,
            "same": (session.uid, session.etag) == (again.uid, first.etag),
        }

    def _begun(self) -> Session:
        return self._client.create_session(
            "interop", labels={"team": "blue"}, system_instruction="Be brief.", ttl=3600, request_id="begin"
        )

    def chat(self) -> Any:
        session = self._client.create_session("interop")
        reply = self._client.chat("Grüß Gott 👋", session=session, temperature=0)
        history = [[f"ROLE_{one.role.name}", one.text] for one in self._client.list_messages(session)]
        return {"text": reply.text, "finish_reason": f"FINISH_REASON_{reply.finish_reason.name}", "history": history}

    def stream(self) -> Any:
        kinds, sequences, text = [], [], ""
        with self._client.stream_chat("go") as stream:
            for event in stream.events():
                kinds.append(KINDS[type(event)])
                sequences.append(event.sequence)
                if isinstance(event, Delta):
                    text += event.text
                    pause(event.text)
            whole = stream.reply()
        return {"kinds": kinds, "sequences": sequences, "text": text, "whole": whole.text}

    def retry(self) -> Any:
        both = [self._client.chat("go", request_id="order") for _ in range(2)]
        with Refused() as refused:
            self._client.chat("stop", request_id="order")
        return {
            "turns": [reply.turn for reply in both],
            "texts": [reply.text for reply in both],
            "refused": refused.found,
        }

    def resume(self) -> Any:
        sequences, text = [], ""
        with self._client.stream_chat("go", request_id="story") as stream:
            for event in stream.events():
                if not isinstance(event, Heartbeat):
                    sequences.append(event.sequence)
                if isinstance(event, Delta):
                    text = stream.text  # as it has grown so far: at the end it is what the server says that it is
                    pause(event.text)
        return {"turn": stream.turn, "text": text, "sequences": sequences}

    def cancel(self) -> Any:
        with self._client.stream_chat("go") as stream:
            til(stream, Delta)
            first, again = [self._client.cancel_turn(stream.turn) for _ in range(2)]
            with Refused() as refused:
                rest(stream)
        assert first.message is not None
        return {
            "states": [f"TURN_STATE_{turn.state.name}" for turn in (first, again)],
            "text": first.message.text,
            "refused": refused.found,
        }

    def leave(self) -> Any:
        with self._client.stream_chat("go", on_disconnect="cancel") as stream:
            til(stream, Delta)
            stream.detach()  # or leaving would stop the turn by a call of its own
        pause(stream.turn)
        turn = self._client.get_turn(stream.turn)
        return {"state": f"TURN_STATE_{turn.state.name}"}

    def busy(self) -> Any:
        session = self._client.create_session("interop")
        with self._client.stream_chat("go", session=session) as first:
            til(first, TurnStarted)
            with Refused() as refused:
                self._client.chat("go", session=session)
            with self._client.stream_chat("go", session=session, if_busy="queue") as second:
                queued = til(second, TurnQueued)
                pause(first.turn)
                texts = [rest(first), rest(second)]
        return {"refused": refused.found, "position": queued.position, "texts": texts}

    def deadline(self) -> Any:
        self._client.health()  # connects, so that the deadline is the turn's alone
        with Refused() as own:
            with self._client.stream_chat("go", on_disconnect="continue", timeout=1) as stream:
                rest(stream)
        pause(stream.text)
        with self._client.stream_turn(stream.turn, after_sequence=stream.sequence) as replay:
            remaining = rest(replay)
        with Refused() as late:
            self._client.chat("go", turn_timeout=0.05)
        return {"deadline": own.found, "rest": remaining, "timeout": late.found}

    def unknown_session(self) -> Any:
        with Refused() as read:
            self._client.get_session("nobody")
        with Refused() as streamed:
            with self._client.stream_chat("go", session="nobody") as stream:
                rest(stream)
        return {"read": read.found, "streamed": streamed.found}

    def context(self) -> Any:
        taste = ContextEntry(type="json", json={"tea": True, "sugar": 2.5})
        session = self._client.create_session("interop", context={"city": "Ulm", "taste": taste})
        self._client.update_session(session, set_context={"day": "Monday"}, remove_context=["city"])
        kept = (self._client.get_session(session)).context
        self._client.chat("go", session=session)
        return {"entries": sorted(kept), "day": kept["day"].text, **kept["taste"].json}

    def embeddings(self) -> Any:
        found = self._client.embed(["abba", "c"])
        return {"vectors": [[*vector] for vector in found.vectors], "input_tokens": found.usage.input_tokens}

    def tokens(self) -> Any:
        count = self._client.count_tokens("one two three")
        return {"input_tokens": count.input_tokens, "exact": count.exact, "model": count.model}

    def state(self) -> Any:
        first = self._client.chat("go")
        second = self._client.chat(["go", first.message, "go"])
        return {"texts": [first.text, second.text]}

    def check(self) -> Any:
        found = [self._client.health(service) for service in ("", "contextprotocol.v1.ChatService")]
        with Refused() as refused:
            self._client.health("nobody")
        return {"statuses": [status.name for status in found], "unknown": refused.found["code"]}

    def watch(self) -> Any:
        statuses = self._client.watch_health()
        first = next(statuses)
        pause(first.name)
        status = next(statuses)
        statuses.close()
        return {"status": status.name}


def main(address: str, case: str) -> Any:
    """Do one case."""
    with MCPSyncClient(address) as client:
        return getattr(Cases(client), case)()


if __name__ == "__main__":
    say(main(*sys.argv[1:]))
