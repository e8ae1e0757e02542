# Generated from tests/client/test_options.py by scripts/generate: edit that file.

"""The options of calls: defaults, views with other defaults, and names that do not exist."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_client import MCPSyncClient, TurnOptions
from tests.client.blocking.beside import ScriptedProvider, running
from tests.client.blocking.conftest import Connect


def test_a_client_has_default_options(connect: Connect) -> None:
    """A call that is given others uses those; ``None`` stands for none."""
    provider = ScriptedProvider.saying("a")
    client = connect(provider, options={"temperature": 0.5, "max_output_tokens": 9})
    client.chat("Hi")
    client.chat("Hi", temperature=1)
    client.complete("Hi", max_output_tokens=None)
    with client.stream_chat("Hi") as stream:
        stream.reply()
    used = [(request.config.temperature, request.config.max_output_tokens) for request in provider.requests]
    assert used == [(0.5, 9), (1, 9), (0.5, None), (0.5, 9)]


def test_a_view_has_other_defaults_over_the_same_connection(connect: Connect) -> None:
    """Views of views add up; the client itself stays as it is."""
    provider = ScriptedProvider.saying("a")
    client = connect(provider)
    cold = client.with_options(temperature=0, seed=7)
    warm = cold.with_options(temperature=1)
    for each in (client, cold, warm):
        each.chat("Hi")
    used = [(request.config.temperature, request.config.seed) for request in provider.requests]
    assert used == [(None, None), (0, 7), (1, 7)]
    warm.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.chat("Hi")


def test_a_view_of_a_session_chats_in_it(client: MCPSyncClient) -> None:
    """Also in streams and with tools; another session may be named."""
    session, other = client.create_session("tour"), client.create_session("other")
    tour = client.with_options(session=session)
    tour.chat("one")
    with tour.stream_chat("two") as stream:
        stream.reply()
    tour.chat("three", session=other)
    client.chat("four")
    assert [message.text for message in client.list_messages(session)] == ["one", "one", "two", "two"]
    assert [message.text for message in client.list_messages(other)] == ["three", "three"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("max_tokens", "max_output_tokens"),
        ("temprature", "temperature"),
        ("response_format", "schema"),
        ("sesion", "session"),
        ("stop_sequences", "stop"),
    ],
)
def test_an_unknown_option_is_refused_with_what_was_meant(client: MCPSyncClient, name: str, meant: str) -> None:
    """And with all that there are."""
    options: dict[str, Any] = {name: 1}
    with pytest.raises(TypeError) as caught:
        client.chat("Hi", **options)
    assert str(caught.value).startswith(f"unknown option {name!r} (did you mean {meant!r}?); the options are model, ")
    assert all(option in str(caught.value) for option in TurnOptions.__annotations__)
    with pytest.raises(TypeError, match=f"did you mean {meant!r}"):
        client.with_options(**options)


def test_defaults_are_checked_when_they_are_made() -> None:
    """And what belongs to one call cannot be one."""
    options: Any = {"max_tokens": 1}
    with pytest.raises(TypeError, match="did you mean 'max_output_tokens'"):
        MCPSyncClient(options=options)
    with pytest.raises(TypeError, match="request_id: applies to a single call"):
        MCPSyncClient(options={"request_id": "a"})


def test_a_client_shows_where_it_goes() -> None:
    """With its defaults, and without credentials."""
    with running() as server, MCPSyncClient(server.address, api_key="ctx_secret") as client:
        view = client.with_options(session="tour", model="echo")
        assert repr(client).endswith(f"Client('{server.address}')")
        assert repr(view).endswith(f"Client('{server.address}', session='tour', model='echo')")
