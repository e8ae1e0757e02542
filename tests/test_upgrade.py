"""A server goes on with the file of the release before it: `tests/stores/files/README.md` says how that was made."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from mcp_client import MCPClient, ProviderRejected, RequestIdReused, TurnState
from mcp_server.interfaces import Finish
from mcp_server.settings import testing_config as settings
from mcp_server.stores.sqlite.settings import SQLiteSettings
from mcp_server.testing import ScriptedProvider, running
from mcp_server.values import SECOND

FILE = Path(__file__).parent / "stores" / "files" / "0.3.0.db"
AFTERWARDS = 1_767_268_800 * SECOND + 100 * SECOND


@pytest.fixture
def provider() -> ScriptedProvider:
    return ScriptedProvider(["One, two, three.", Finish()], ["Done.", Finish()])


@pytest.fixture
async def client(tmp_path: Path, provider: ScriptedProvider) -> AsyncIterator[MCPClient]:
    """A client of a server over a copy of the file."""
    path = Path(shutil.copy(FILE, tmp_path / "sessions.db"))
    config = msgspec.structs.replace(settings(default_model="scripted/scripted"), store=SQLiteSettings(path=path))
    clock = itertools.count(AFTERWARDS, 1_000_000).__next__
    async with (
        running(config, providers={"scripted": provider}, clock=clock) as server,
        MCPClient(server.address, retry=None) as client,
    ):
        yield client


async def test_a_conversation_goes_on(client: MCPClient) -> None:
    """With its history, instruction and context."""
    await client.chat("And now?", session="tour")
    texts = [message.text async for message in client.list_messages("tour")]
    assert texts == ["An older message.", "I am Ada.", "Hello Ada.", "And now?", "One, two, three."]


async def test_requests_of_before_are_still_free_to_retry(client: MCPClient, provider: ScriptedProvider) -> None:
    """The same request is recognised by its digest, and what it did is not done again."""
    assert (await client.chat("I am Ada.", session="tour", request_id="chat-tour")).text == "Hello Ada."
    assert (await client.complete("Once upon ", request_id="complete")).text == "a time."
    with pytest.raises(ProviderRejected):
        await client.chat("Say what is not allowed.", session="branch", request_id="failed")
    await client.append_messages("tour", "An older message.", request_id="append-tour")
    assert (await client.get_session("tour")).message_count == 3
    with pytest.raises(RequestIdReused):
        await client.chat("I am Eve.", session="tour", request_id="chat-tour")
    assert provider.requests == []


async def test_turns_that_ran_are_interrupted_and_run_again(client: MCPClient) -> None:
    """Their sessions are free at once, and their own requests run them anew as the same turns."""
    session = await client.get_session("busy")
    assert session.active_turn == ""
    states = {turn.request_id: turn.state async for turn in client.list_turns("busy")}
    assert states == dict.fromkeys(("running", "queued"), TurnState.INTERRUPTED)
    assert (await client.chat("Count.", session="busy", request_id="running")).text == "One, two, three."
    reply = await client.chat("Stop.", session="busy", request_id="queued", if_busy="queue")
    assert reply.text == "Done."
    assert (await client.get_session("busy")).message_count == 4
