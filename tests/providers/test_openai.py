"""The provider ``openai`` against a real HTTP server: what is asked, and what is made of the answers."""

from __future__ import annotations

from pathlib import Path

from contextprotocol.v1 import chat_pb2
from mcp_server.config import load
from tests.conftest import Serve
from tests.upstream.replies import Answer, in_turn
from tests.upstream.server import Upstream
from tests.wire import collect, deltas, user

SETTINGS = """
[server]
address = "127.0.0.1:0"

[store]
type = "memory"

[metrics]
address = ""

[providers.remote]
type = "openai"
base_url = "{url}"
api_key = "sk-test"
models.small = {{ context_window = 8192 }}
"""


async def test_a_configured_server_answers_a_stream(serve: Serve, tmp_path: Path) -> None:
    """From a file of settings to a stream over gRPC: text, usage and a connection that is used again."""
    async with Upstream(in_turn(Answer(tokens=("Good", " day")))) as upstream:
        (tmp_path / "settings.toml").write_text(SETTINGS.format(url=upstream.url))
        wire = await serve(load(tmp_path / "settings.toml", {}))
        for _ in range(2):
            events = await collect(wire.chat.StreamChat(chat_pb2.ChatRequest(messages=[user("hello there")])))
            assert deltas(events) == "Good day"
            assert events[-1].completed.usage.output_tokens == 2
        assert upstream.connections == 1
        assert {call.key for call in upstream.calls} == {"sk-test"}
        assert upstream.calls[0].body == {
            "model": "small",
            "messages": [{"role": "user", "content": "hello there"}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
