"""What a client must get right, done by the program of each language, seen from both sides."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest

from contextprotocol.v1 import turn_pb2
from mcp_server.interfaces import Finish, PartState, ReasoningDelta
from mcp_server.settings import TurnSettings
from mcp_server.settings import testing_config as settings
from mcp_server.stores.sqlite.settings import SQLiteSettings
from mcp_server.testing import EchoProvider, Gate, ScriptedProvider, running
from mcp_server.values import ProviderState, ProviderStatePart, Reasoning, Text
from tests.conftest import Serve
from tests.faults.proxy import Proxy
from tests.interop.conftest import WEB, Start
from tests.wire import Refused, Wire, collect, text_of

# Without what is built for the first test of a language, which takes a minute on a small machine.
pytestmark = pytest.mark.timeout(30, func_only=True)

TEXT = "Grüße, 世界 🌍: a short story"


def refused(code: grpc.StatusCode, reason: str, **metadata: str) -> dict[str, Any]:
    """What a program tells of an error."""
    return {"code": code.value[0], "reason": reason, "metadata": metadata}


async def scripted(serve: Serve, *scripts: Any) -> tuple[Wire, ScriptedProvider]:
    """A server whose model follows scripts."""
    provider = ScriptedProvider(*scripts)
    return await serve(providers={"scripted": provider}), provider


async def test_create(wire: Wire, start: Start) -> None:
    """Begins a session, sends that again with the same `request_id`, and reads it."""
    async with start(wire.server) as program:
        found = await program.found()
    assert found == {
        "names": ["sessions/interop", "sessions/interop"],
        "labels": {"team": "blue"},
        "system_instruction": "Be brief.",
        "ttl": 3600,
        "same": True,
    }


async def test_chat(serve: Serve, start: Start) -> None:
    """Has an answer in one piece, with a sampling parameter set to 0, and reads the history."""
    wire, provider = await scripted(serve, [TEXT, Finish()])
    async with start(wire.server) as program:
        found = await program.found()
    assert found["text"] == TEXT
    assert found["finish_reason"] == "FINISH_REASON_STOP"
    assert found["history"] == [["ROLE_USER", "Grüß Gott 👋"], ["ROLE_ASSISTANT", TEXT]]
    (request,) = provider.requests
    assert (request.config.temperature, request.config.top_p) == (0.0, None)


async def test_stream(serve: Serve, start: Start) -> None:
    """Reads an answer as it comes: each piece leaves the model only when the one before has been read."""
    first, second = Gate(), Gate()
    wire, _ = await scripted(serve, ["Grüße, ", first, "世界 ", second, "🌍", Finish()])
    async with start(wire.server) as program:
        pieces = []
        for gate in (first, second, None):
            pieces.append(await program.pause())
            if gate:
                gate.open()
            program.go_on()
        found = await program.found()
    assert pieces == ["Grüße, ", "世界 ", "🌍"]
    assert found["text"] == found["whole"] == "Grüße, 世界 🌍"
    kinds = [kind.lower().replace("_", "") for kind in found["kinds"]]  # each language spells them in its own way
    assert kinds == ["started", "partstarted", "delta", "delta", "delta", "completed"]
    assert found["sequences"] == sorted(set(found["sequences"]))


async def test_retry(serve: Serve, start: Start) -> None:
    """Sends a request twice with one `request_id`: one answer, one call to the provider. Another request is refused."""
    wire, provider = await scripted(serve, [TEXT, Finish()])
    async with start(wire.server) as program:
        found = await program.found()
    assert found["texts"] == [TEXT, TEXT]
    assert found["turns"][0] == found["turns"][1] != ""
    assert found["refused"] == refused(grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED", turn=found["turns"][0])
    assert len(provider.requests) == 1


async def test_resume(serve: Serve, start: Start) -> None:
    """Loses its connection twice in an answer, and goes on with `after_sequence`: no word is lost or repeated."""
    first, second = Gate(), Gate()
    wire, provider = await scripted(serve, ["Once ", first, "upon ", second, "a time.", Finish()])
    async with Proxy(start.address(wire.server), lambda _: ()) as proxy, start(proxy.address) as program:
        pieces = []
        for gate in (first, second, None):
            pieces.append(await program.pause())
            if gate:
                proxy.cut_all()
                gate.open()
            program.go_on()
        found = await program.found()
        # A browser may open further ones, to ask before it calls for example.
        assert proxy.connections == 3 or (start.web and proxy.connections > 3)
    assert pieces == ["Once ", "upon ", "a time."]
    turn = await wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=found["turn"]))
    assert found["text"] == text_of(turn.message) == "Once upon a time."
    assert found["sequences"] == sorted(set(found["sequences"]))
    assert len(provider.requests) == 1


async def test_restart(start: Start, tmp_path: Path) -> None:
    """Has its server replaced in the middle of an answer: drops what it had at `switched`, has the new one whole."""
    gate = Gate()
    provider = ScriptedProvider(["Once ", Gate()], ["Twice ", gate, "upon a time.", Finish()])
    store = SQLiteSettings(path=tmp_path / "sessions.db")
    config = msgspec.structs.replace(settings(default_model="scripted/scripted"), store=store, web=WEB)
    async with AsyncExitStack() as stack:
        async with running(config, providers={"scripted": provider}) as server:
            at = msgspec.structs.replace(config.server, address=server.address)
            web = msgspec.structs.replace(WEB, address=server.web_address)
            program = await stack.enter_async_context(start(server, "resume"))
            assert await program.pause() == "Once "
        config = msgspec.structs.replace(config, server=at, web=web)
        await stack.enter_async_context(running(config, providers={"scripted": provider}))
        program.go_on()
        assert await program.pause() == "Twice "
        gate.open()
        program.go_on()
        assert await program.pause() == "upon a time."
        program.go_on()
        found = await program.found()
    assert found["text"] == "Twice upon a time."
    assert found["sequences"] == sorted(set(found["sequences"]))
    assert len(provider.requests) == 2


async def test_cancel(serve: Serve, start: Start) -> None:
    """Stops a turn with `CancelTurn`: the stream ends with the reason, and what was said is kept."""
    wire, provider = await scripted(serve, ["one ", Gate()])
    async with start(wire.server) as program:
        found = await program.found()
    assert found == {
        "states": ["TURN_STATE_CANCELLED", "TURN_STATE_CANCELLED"],
        "text": "one ",
        "refused": refused(grpc.StatusCode.CANCELLED, "TURN_CANCELLED", turn=found["refused"]["metadata"]["turn"]),
    }
    assert provider.cancelled == 1


async def test_leave(serve: Serve, start: Start) -> None:
    """Leaves a stream in the middle, having asked with `on_disconnect` that this stops the turn."""
    provider = ScriptedProvider(["one ", Gate()])
    # With such a grace, the server would not stop it of its own accord within this test.
    config = msgspec.structs.replace(
        settings(default_model="scripted/scripted"), turns=TurnSettings(disconnect_grace=3600)
    )
    wire = await serve(config, providers={"scripted": provider})
    async with start(wire.server) as program:
        turn = await program.pause()
        await provider.stopped.wait()
        with Refused() as ended:
            await collect(wire.turns.StreamTurn(turn_pb2.StreamTurnRequest(name=turn)))
        assert ended.reason == "TURN_CANCELLED"
        program.go_on()
        assert await program.found() == {"state": "TURN_STATE_CANCELLED"}


async def test_busy(serve: Serve, start: Start) -> None:
    """Meets a turn that runs: refused with its name, or, if it asks for that, in the queue after it."""
    gate = Gate()
    wire, _ = await scripted(serve, ["first", gate, Finish()], ["second", Finish()])
    async with start(wire.server) as program:
        running = await program.pause()
        gate.open()
        program.go_on()
        found = await program.found()
    assert found == {
        "refused": refused(grpc.StatusCode.ABORTED, "SESSION_BUSY", turn=running, session="sessions/interop"),
        "position": 1,
        "texts": ["first", "second"],
    }


async def test_deadline(serve: Serve, start: Start) -> None:
    """Tells the call's own deadline, which ends the reader alone, from the turn's `timeout`; reads the rest later."""
    gate = Gate()
    wire, provider = await scripted(serve, ["one ", gate, "two", Finish()], [Gate()])
    async with start(wire.server) as program:
        assert await program.pause() == "one "
        gate.open()
        program.go_on()
        found = await program.found()
    turn = found["timeout"]["metadata"].pop("turn")
    assert turn
    assert found == {
        "deadline": refused(grpc.StatusCode.DEADLINE_EXCEEDED, ""),
        "rest": "two",
        "timeout": refused(grpc.StatusCode.DEADLINE_EXCEEDED, "TURN_TIMEOUT"),
    }
    assert len(provider.requests) == 2


async def test_unknown_session(wire: Wire, start: Start) -> None:
    """Reads the reason out of the details of an error, unary and streamed."""
    async with start(wire.server) as program:
        found = await program.found()
    for name in ("read", "streamed"):
        found[name].pop("metadata")
        assert found[name] == {"code": grpc.StatusCode.NOT_FOUND.value[0], "reason": "SESSION_NOT_FOUND"}


async def test_context(serve: Serve, start: Start) -> None:
    """Gives a session context as text and as JSON, changes it, reads it, and the model sees it."""
    wire, provider = await scripted(serve, ["ok", Finish()])
    async with start(wire.server) as program:
        found = await program.found()
    assert found == {"entries": ["day", "taste"], "day": "Monday", "tea": True, "sugar": 2.5}
    (request,) = provider.requests
    prompt = "\n".join(message.text for message in request.messages)
    assert "Monday" in prompt
    assert "sugar" in prompt
    assert "Ulm" not in prompt


async def test_embeddings(serve: Serve, start: Start) -> None:
    """Turns two texts into vectors, in their order."""
    wire = await serve(providers={"echo": EchoProvider()})
    async with start(wire.server) as program:
        found = await program.found()
    assert [vector[:3] for vector in found["vectors"]] == [[2, 2, 0], [0, 0, 1]]
    assert [len(vector) for vector in found["vectors"]] == [26, 26]
    assert found["input_tokens"] == 2


async def test_tokens(serve: Serve, start: Start) -> None:
    """Counts the tokens of a prompt before it is sent."""
    wire = await serve(providers={"echo": EchoProvider()})
    async with start(wire.server) as program:
        found = await program.found()
    assert found == {"input_tokens": 3, "exact": True, "model": "echo/echo"}


async def test_state(serve: Serve, start: Start) -> None:
    """Keeps a conversation itself, and sends an answer back as it came, with what its provider needs of it."""
    script = [
        ReasoningDelta(text="hm"),
        PartState(data=b"\x00\xff"),
        PartState(data=b"hidden", own_part=True),
        "yes",
        Finish(),
    ]
    wire, provider = await scripted(serve, script)
    async with start(wire.server) as program:
        found = await program.found()
    assert found == {"texts": ["yes", "yes"]}
    _, second = provider.requests
    state = ProviderState(provider="scripted", model="scripted", data=b"\x00\xff")
    assert second.messages[1].parts == (
        Reasoning(text="hm", provider_state=state),
        ProviderStatePart(provider_state=msgspec.structs.replace(state, data=b"hidden")),
        Text(text="yes"),
    )


async def test_check(wire: Wire, start: Start) -> None:
    """Asks for the health of the server and of a service, and of one that there is not."""
    async with start(wire.server) as program:
        found = await program.found()
    assert found == {"statuses": ["SERVING", "SERVING"], "unknown": grpc.StatusCode.NOT_FOUND.value[0]}


async def test_watch(wire: Wire, start: Start) -> None:
    """Watches the health of the server, and sees when it begins to drain."""
    async with start(wire.server) as program:
        assert await program.pause() == "SERVING"
        stopping = asyncio.create_task(wire.server.stop(grace=30))
        program.go_on()
        assert await program.found() == {"status": "NOT_SERVING"}
    await stopping
