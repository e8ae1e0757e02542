"""CompletionService, EmbeddingService, ModelService, and what a later release brings."""

from __future__ import annotations

from typing import Any

import grpc

from contextprotocol.v1 import (
    completion_pb2,
    context_pb2,
    embedding_pb2,
    model_pb2,
    session_pb2,
    turn_pb2,
)
from mcp_server.interfaces import Finish
from mcp_server.testing import EchoProvider, Gate, ScriptedProvider
from mcp_server.values import Capabilities, Model, ModelState
from tests.conftest import Serve
from tests.wire import Refused, Wire, deltas, text_of


def complete(prompt: str = "once", **fields: Any) -> completion_pb2.CompleteRequest:
    return completion_pb2.CompleteRequest(prompt=prompt, **fields)


async def test_a_completion_goes_on_from_the_prompt(wire: Wire) -> None:
    """Streamed and folded alike, with no message of any role in between."""
    events = [event async for event in wire.completion.StreamComplete(complete("once upon a time"))]
    assert deltas(events) == "once upon a time"
    response = await wire.completion.Complete(complete("once upon a time"))
    assert text_of(response.completed.message) == "once upon a time"
    assert response.turn.startswith("turns/")


async def test_a_completion_leaves_the_history_alone(serve: Serve) -> None:
    """With include_context it sees the context, and with save_as it becomes part of it."""
    provider = ScriptedProvider.saying("a summary")
    wire = await serve(providers={"scripted": provider})
    old = await wire.create(context={"name": context_pb2.ContextEntry(type="text", text="Ada")})
    request = complete("Sum up.", session=old.name, include_context=True, save_as="summary")
    response = await wire.completion.Complete(request)
    assert provider.requests[0].prompt == "name: Ada\n\nSum up."
    assert await wire.history() == []
    got = await wire.sessions.GetSession(session_pb2.GetSessionRequest(name=old.name))
    assert got.context["summary"].text == "a summary"
    assert got.etag == response.completed.session_etag != old.etag


async def test_a_completion_is_a_turn_of_its_session(serve: Serve) -> None:
    """One at a time runs, chats included."""
    gate = Gate()
    wire = await serve(providers={"scripted": ScriptedProvider(["x", gate, Finish()])})
    await wire.create()
    stream = wire.completion.StreamComplete(complete(session="sessions/tour"))
    await gate.reached.wait()
    with Refused() as refused:
        await wire.say("hello")
    assert refused.reason == "SESSION_BUSY"
    stream.cancel()


async def test_an_answer_that_the_context_cannot_hold_fails_the_turn(serve: Serve) -> None:
    """The limit holds for save_as too, and nothing of it is kept."""
    wire = await serve(providers={"scripted": ScriptedProvider.saying("y" * 600_000)})
    await wire.create(context={"a": context_pb2.ContextEntry(type="text", text="x" * 600_000)})
    with Refused() as refused:
        await wire.completion.Complete(complete(session="sessions/tour", save_as="b"))
    assert (refused.code, list(refused.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["save_as"])
    got = await wire.sessions.GetSession(session_pb2.GetSessionRequest(name="sessions/tour"))
    assert list(got.context) == ["a"]
    assert got.active_turn == ""


async def test_vectors_come_in_the_order_of_the_texts(wire: Wire) -> None:
    """One for each, with usage and the attempt."""
    response = await wire.embedding.Embed(embedding_pb2.EmbedRequest(inputs=["aab", "c", "aab"]))
    assert [list(e.values)[:3] for e in response.embeddings] == [[2, 1, 0], [0, 0, 1], [2, 1, 0]]
    assert response.model == "echo/echo"
    assert response.usage.input_tokens == 3
    assert response.attempts[0].outcome == turn_pb2.TURN_STATE_SUCCEEDED


async def test_embedding_takes_its_model_from_the_session(serve: Serve) -> None:
    """A session's model that makes no vectors is refused by its name."""
    wire = await serve(providers={"echo": EchoProvider(), "scripted": ScriptedProvider.saying("x")})
    await wire.create(default_model="scripted/scripted")
    with Refused() as refused:
        await wire.embedding.Embed(embedding_pb2.EmbedRequest(inputs=["a"], session="sessions/tour"))
    assert (refused.reason, refused.metadata["model"]) == ("UNSUPPORTED_BY_MODEL", "scripted/scripted")
    response = await wire.embedding.Embed(
        embedding_pb2.EmbedRequest(inputs=["a"], session="sessions/tour", model="echo")
    )
    assert response.model == "echo/echo"


async def test_a_batch_that_would_not_fit_an_answer_is_refused(serve: Serve) -> None:
    """The error says how many are allowed, and GetModel says so before."""
    can = Capabilities(embedding=True)
    big = EchoProvider()
    big.models = lambda: _models(Model(name="big", capabilities=can, embedding_dimensions=8192))  # type: ignore[method-assign]  # another model
    wire = await serve(providers={"big": big})
    model = await wire.models.GetModel(model_pb2.GetModelRequest(name="models/big"))
    assert 0 < model.max_batch < 120
    with Refused() as refused:
        await wire.embedding.Embed(embedding_pb2.EmbedRequest(inputs=["a"] * (model.max_batch + 1)))
    assert str(model.max_batch) in refused.violations["inputs"]


async def _models(*models: Model) -> list[Model]:
    return list(models)


async def test_models_are_listed_with_what_they_can_do(serve: Serve) -> None:
    """By name, in pages, with aliases, state and the default."""
    loading = Model(
        name="m", capabilities=Capabilities(chat=True), state=ModelState.UNAVAILABLE, state_reason="the file is missing"
    )
    wire = await serve(providers={"echo": EchoProvider(), "other": ScriptedProvider.saying("x", model=loading)})
    first = await wire.models.ListModels(model_pb2.ListModelsRequest(page_size=1))
    second = await wire.models.ListModels(model_pb2.ListModelsRequest(page_size=1, page_token=first.next_page_token))
    assert second.next_page_token == ""
    (echo,), (other,) = first.models, second.models
    assert (echo.name, echo.provider, list(echo.aliases), echo.is_default) == (
        "models/echo/echo",
        "echo",
        ["echo"],
        True,
    )
    assert echo.capabilities == model_pb2.ModelCapabilities(chat=True, completion=True, embedding=True)
    assert (echo.embedding_dimensions, echo.context_window) == (26, 100_000)
    assert (other.state, other.state_reason) == (model_pb2.Model.STATE_UNAVAILABLE, "the file is missing")
    assert other.max_batch == 0
    for name in ("models/echo", "models/echo/echo"):
        assert await wire.models.GetModel(model_pb2.GetModelRequest(name=name)) == echo
    with Refused() as refused:
        await wire.models.GetModel(model_pb2.GetModelRequest(name="models/none"))
    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")
