"""A plug-in that misbehaves harms nobody but those that need it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from contextprotocol.v1 import chat_pb2, context_pb2, model_pb2
from mcp_server.interfaces import Call
from mcp_server.settings import ModelSettings, RouteSettings
from mcp_server.settings import testing_config as settings
from mcp_server.testing import EchoProvider
from mcp_server.values import Capabilities, ContextEntry, Model
from tests.conftest import Serve
from tests.wire import Refused, text_of, user

CHAT = Capabilities(chat=True)


class Odd(EchoProvider):
    """Cannot list its models, in some way."""

    def __init__(self, way: str) -> None:
        self.way = way
        self.asked = 0

    async def models(self) -> Sequence[Model]:
        self.asked += 1
        if self.way == "raises":
            raise OSError("the disk is gone")
        if self.way == "hangs":
            await asyncio.Event().wait()
        if self.way == "blocks":
            time.sleep(0.1)  # noqa: ASYNC251  # that is what it does
        odd: dict[str, Any] = {
            "nothing": None,
            "names": ["odd"],
            "wrong types": [Model(name="odd", context_window="8k")],  # type: ignore[arg-type]
        }
        models: Sequence[Model] = odd.get(self.way, [Model(name="odd", capabilities=CHAT)])
        return models


class LooksUp(EchoProvider):
    """Cannot look a model up."""

    def look_up(self, name: str, /) -> Model | None:
        raise OSError("the disk is gone")


class Broken:
    """A context type that cannot render."""

    def validate(self, entry: ContextEntry, /) -> str | None:
        return None

    def render(self, name: str, entry: ContextEntry, /) -> str:
        raise ValueError("a bug")


def ask(model: str = "echo/echo", **fields: Any) -> chat_pb2.ChatRequest:
    return chat_pb2.ChatRequest(messages=[user("Hello")], model=model, **fields)


@pytest.mark.parametrize("way", ["raises", "hangs", "nothing", "names", "wrong types", "blocks"])
async def test_a_provider_that_cannot_list_its_models_hides_no_other(
    serve: Serve, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls to the others go on, and it is not asked again at every call."""
    monkeypatch.setattr("mcp_server.models.inventory.LIST_SECONDS", 0.05)
    monkeypatch.setattr("mcp_server.models.inventory.SNAPSHOT_SECONDS", 0.0)
    odd = Odd(way)
    wire = await serve(providers={"echo": EchoProvider(), "odd": odd})
    for _ in range(3):
        assert text_of((await wire.chat.Chat(ask())).completed.message) == "Hello"
    assert odd.asked == 1
    listed = await wire.models.ListModels(model_pb2.ListModelsRequest())
    known = ["models/odd/odd"] if way == "blocks" else []
    assert [model.name for model in listed.models] == ["models/echo/echo", *known]


async def test_models_of_a_provider_stay_known_while_it_cannot_list_them(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may well answer all the same."""
    monkeypatch.setattr("mcp_server.models.inventory.SNAPSHOT_SECONDS", 0.0)
    odd = Odd("")
    wire = await serve(providers={"echo": EchoProvider(), "odd": odd})
    await wire.chat.Chat(ask("odd/odd"))
    odd.way = "raises"
    assert text_of((await wire.chat.Chat(ask("odd/odd"))).completed.message) == "Hello"


async def test_a_look_up_that_raises_leaves_the_other_models_of_a_route(serve: Serve) -> None:
    """The unlisted model is passed over."""
    config = settings(default_model="echo/echo")
    models = ModelSettings(
        default="echo/echo",
        default_embedding="echo/echo",
        routes={"r": RouteSettings(targets=("odd/any", "echo/echo"))},
    )
    config = msgspec.structs.replace(config, models=models)
    wire = await serve(config, providers={"echo": EchoProvider(), "odd": LooksUp()})
    assert text_of((await wire.chat.Chat(ask("r"))).completed.message) == "Hello"
    with Refused() as refused:
        await wire.chat.Chat(ask("odd/any"))
    assert refused.reason == "MODEL_NOT_FOUND"


async def test_a_context_type_that_cannot_render_is_named(serve: Serve) -> None:
    """Not the model, which was never asked."""
    wire = await serve(providers={"echo": EchoProvider()}, context_types={"broken": Broken()})
    created = await wire.create(context={"note": context_pb2.ContextEntry(type="broken", text="x")})
    with Refused() as refused:
        await wire.chat.Chat(ask(session=created.name))
    assert refused.reason == "INTERNAL"
    assert "'broken' cannot render the entry 'note'" in refused.details


class Suppressing:
    """A middleware that hides errors."""

    def __call__(self, call: Call) -> Suppressing:
        return self

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_: object) -> bool:
        return True


async def test_a_middleware_that_hides_an_error_makes_no_success_of_it(serve: Serve) -> None:
    """The caller is told that something is wrong with the server."""
    wire = await serve(providers={"echo": EchoProvider()}, middleware=[Suppressing()])
    with Refused() as refused:
        await wire.chat.Chat(ask("nobody/nothing"))
    assert refused.reason == "INTERNAL"


class Stuck(EchoProvider):
    """Does not close."""

    async def close(self) -> None:
        await asyncio.Event().wait()


async def test_a_provider_that_does_not_close_keeps_no_server_from_stopping(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given up after a while."""
    monkeypatch.setattr("mcp_server.provider_set.CLOSE_SECONDS", 0.05)
    wire = await serve(providers={"stuck": Stuck(), "echo": EchoProvider()})
    async with asyncio.timeout(10):
        await wire.server.stop(grace=0)
