"""Models and token counts through Anthropic's own client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import anthropic
import msgspec
import pytest

from mcp_server.interfaces import GenerateRequest, ProviderEvent
from mcp_server.settings import testing_config as plain_config
from mcp_server.testing import EchoProvider, ScriptedProvider
from mcp_server.values import Capabilities, Model
from tests.web.anthropic.conftest import HELLO, StartAPI

replace = msgspec.structs.replace


class Many(ScriptedProvider):
    """Has five models for chats, and one for embeddings."""

    async def models(self) -> Sequence[Model]:
        """All of them."""
        chats = [Model(name=name, capabilities=Capabilities(chat=True), context_window=10) for name in "edcba"]
        return [*chats, Model(name="b2", capabilities=Capabilities(embedding=True))]


def ids(page: Any) -> list[str]:
    """The ids of its models."""
    return [model.id for model in page.data]


async def test_models_are_listed_in_pages(start_api: StartAPI) -> None:
    """Forwards and backwards; those that cannot chat are left out."""
    api = await start_api(m=Many())
    first = await api.client.models.list(limit=2)
    assert (ids(first), first.has_more, first.first_id, first.last_id) == (["m/a", "m/b"], True, "m/a", "m/b")
    assert [model.id async for model in api.client.models.list(limit=2)] == ["m/a", "m/b", "m/c", "m/d", "m/e"]
    last = await api.client.models.list(limit=3, after_id="m/c")
    assert (ids(last), last.has_more) == (["m/d", "m/e"], False)
    before = await api.client.models.list(limit=2, before_id="m/d")
    assert (ids(before), before.has_more) == (["m/b", "m/c"], True)
    empty = await api.client.models.list(after_id="m/e")
    assert (ids(empty), empty.has_more, empty.first_id) == ([], False, None)


async def test_pages_lead_to_every_model(start_api: StartAPI) -> None:
    """Also to those behind more models than a page can have, most of which cannot chat."""

    class Crowd(ScriptedProvider):
        async def models(self) -> Sequence[Model]:
            """Twelve models for chats at the end of a long list."""
            embedding, chat = Capabilities(embedding=True), Capabilities(chat=True)
            return [Model(name=f"{n:04}", capabilities=chat if n >= 1000 else embedding) for n in range(1012)]

    api = await start_api(m=Crowd())
    assert [model.id async for model in api.client.models.list(limit=5)] == [f"m/{n}" for n in range(1000, 1012)]
    before = await api.client.models.list(limit=2, before_id="m/1011")
    assert (ids(before), before.has_more) == (["m/1009", "m/1010"], True)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"limit": 0}, "limit: must be from 1 to 1000, not '0'"),
        ({"limit": "x"}, "limit: must be from 1 to 1000, not 'x'"),
        ({"after_id": "a", "before_id": "b"}, "before_id: cannot be combined with after_id"),
        ({"workspace_id": "w"}, "workspace_id: unknown parameter"),
    ],
)
async def test_a_page_that_cannot_be_is_refused(start_api: StartAPI, query: Any, message: str) -> None:
    """By the name of the parameter."""
    api = await start_api(m=Many())
    with pytest.raises(anthropic.BadRequestError, match=message):
        await api.client.models.list(extra_query=query)


async def test_a_model_is_found_by_its_name_and_by_an_alias(start_api: StartAPI) -> None:
    """Under the name that was asked for."""
    config = plain_config(default_model="echo/echo")
    config = replace(config, models=replace(config.models, aliases={"claude-best": "echo/echo"}))
    api = await start_api(config, echo=EchoProvider())
    for name in ("echo/echo", "claude-best"):
        model = await api.client.models.retrieve(name)
        assert (model.id, model.type, model.display_name, model.lifecycle) == (name, "model", name, "active")
        assert model.max_input_tokens == 100_000
        assert (await api.client.messages.create(model=name, max_tokens=9, messages=HELLO)).model == "echo/echo"
    with pytest.raises(anthropic.NotFoundError):
        await api.client.models.retrieve("none")


async def test_tokens_are_counted_by_the_provider(start_api: StartAPI) -> None:
    """A word is a token here; the conversation may end with an answer; nothing is generated."""

    class Silent(EchoProvider):
        def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
            raise AssertionError

    api = await start_api(echo=Silent())
    messages: Any = [{"role": "user", "content": "Hello there"}, {"role": "assistant", "content": "General"}]
    count = await api.client.messages.count_tokens(
        model="echo/echo", system="Be kind now.", messages=messages, thinking={"type": "adaptive"}
    )
    assert count.input_tokens == 6
    with pytest.raises(anthropic.BadRequestError, match=r"messages\[0\]\.content\[0\]\.text: must not be empty"):
        await api.client.messages.count_tokens(
            model="echo/echo", system="s", messages=[{"role": "user", "content": [{"type": "text", "text": ""}]}]
        )
