"""Messages as programs have them: in OpenAI's form, and with images."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from mcp_client import Blob, Image, MCPClient, Message, Refusal, Role, Text, ToolCall, ToolResult

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
DATA_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()

TALK: list[dict[str, Any]] = [
    {"role": "user", "content": "How warm is it?", "name": "ada"},
    {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "annotations": [],
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "warm", "arguments": '{"city": "Rome"}'}}],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "21"},
    {"role": "assistant", "content": [{"type": "text", "text": "21 degrees."}, {"type": "refusal", "refusal": "No."}]},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "And here?"},
            {"type": "image_url", "image_url": {"url": DATA_URL, "detail": "auto"}},
            {"type": "image_url", "image_url": {"url": "https://example.com/cat.jpg?size=2"}},
            {"type": "input_audio", "input_audio": {"data": base64.b64encode(b"sound").decode(), "format": "wav"}},
        ],
    },
]


async def test_messages_in_openais_form_are_the_same_as_our_own(client: MCPClient) -> None:
    """With tool calls, their results, images and audio, as the server stores them."""
    session = await client.create_session()
    await client.append_messages(session, TALK)
    stored = [message async for message in client.list_messages(session)]
    assert [(message.role, message.name, message.parts) for message in stored] == [
        (Role.USER, "ada", (Text(text="How warm is it?"),)),
        (Role.ASSISTANT, "", (ToolCall(id="c1", name="warm", arguments_json='{"city": "Rome"}'),)),
        (Role.TOOL, "", (ToolResult(tool_call_id="c1", parts=(Text(text="21"),)),)),
        (Role.ASSISTANT, "", (Text(text="21 degrees."), Refusal(text="No."))),
        (
            Role.USER,
            "",
            (
                Text(text="And here?"),
                Blob(mime_type="image/png", data=PNG),
                Blob(mime_type="image/jpeg", uri="https://example.com/cat.jpg?size=2"),
                Blob(mime_type="audio/wav", data=b"sound"),
            ),
        ),
    ]


async def test_one_message_in_openais_form_is_enough(client: MCPClient) -> None:
    """Alone, in a list, and among others."""
    hello = {"role": "user", "content": "Hello!"}
    assert (await client.chat(hello)).text == "Hello!"
    assert (await client.chat([{"role": "developer", "content": "Echo."}, hello])).text == "Hello!"
    assert (await client.chat(["Hi", Message.assistant("Hi"), hello])).text == "Hello!"
    assert (await client.count_tokens(hello)).input_tokens > 0


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"role": "user"}, "messages[0].content: expected a text or a list of parts, not None"),
        ({"role": "user", "content": ""}, "messages[0].content: the message is empty"),
        ({"role": "bot", "content": "a"}, "messages[0].role: expected 'system' or 'developer' or 'user'"),
        ({"role": 7, "content": "a"}, "messages[0].role: expected a text, not int"),
        ({"role": "user", "content": "a", "weight": 1}, "messages[0]: unknown field 'weight'; allowed: role, content"),
        ({"role": "user", "content": [7]}, "messages[0].content[0]: expected a dict, not int"),
        ({"role": "user", "content": [{"type": "video"}]}, "messages[0].content[0].type: expected 'text' or 'refusal'"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content[0].text: missing"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "cat.png"}}]},
            "messages[0].content[0].image_url.url: url: expected https: or data:, not 'cat.png'",
        ),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": DATA_URL, "detail": "low"}}]},
            "messages[0].content[0].image_url.detail: expected 'auto'",
        ),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": "data:image/png;base64,?"}]},
            "messages[0].content[0].image_url: url: expected data:image/png;base64,…",
        ),
        (
            {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "", "format": "ogg"}}]},
            "messages[0].content[0].input_audio.format: expected 'wav' or 'mp3'",
        ),
        ({"role": "tool", "content": "21"}, "messages[0].tool_call_id: missing"),
        (
            {"role": "tool", "tool_call_id": "a", "content": [{"type": "refusal", "refusal": "No."}]},
            "messages[0].content[0].type: expected 'text' or 'image_url' or 'input_audio', not 'refusal'",
        ),
        ({"role": "assistant", "tool_calls": {}}, "messages[0].tool_calls: expected a list, not dict"),
        ({"role": "assistant", "tool_calls": [{"id": "a"}]}, "messages[0].tool_calls[0].function: expected a dict"),
    ],
)
async def test_a_bad_message_is_refused_with_its_place(client: MCPClient, message: dict[str, Any], error: str) -> None:
    """What is wrong, where, and what is allowed."""
    with pytest.raises((ValueError, TypeError)) as caught:
        await client.chat([message])
    assert str(caught.value).startswith(error)


async def test_a_text_and_an_image_are_one_message(client: MCPClient, tmp_path: Path) -> None:
    """From a file, whose content says more than its name."""
    (tmp_path / "cat.jpg").write_bytes(PNG)
    session = await client.create_session()
    message = Message.user("What is this?", Image.from_path(tmp_path / "cat.jpg"))
    await client.append_messages(session, message)
    stored = [each async for each in client.list_messages(session)]
    assert stored[0].parts == (Text(text="What is this?"), Blob(mime_type="image/png", data=PNG))


def test_the_type_of_an_image_is_found(tmp_path: Path) -> None:
    """By its content, its extension, or as it is told."""
    (tmp_path / "a.svg").write_bytes(b"<svg/>")
    assert Image.from_path(tmp_path / "a.svg").mime_type == "image/svg+xml"
    assert Image.from_bytes(b"\xff\xd8\xff\xe0").mime_type == "image/jpeg"
    assert Image.from_bytes(b"RIFF0000WEBPVP8 ").mime_type == "image/webp"
    assert Image.from_bytes(b"raw", mime_type="image/x-raw").mime_type == "image/x-raw"
    assert Image.from_url("https://example.com/photo").mime_type == "image/*"
    assert Image.from_url("data:image/gif;base64,R0lGODlh") == Blob(mime_type="image/gif", data=b"GIF89a")


def test_what_is_not_an_image_is_refused(tmp_path: Path) -> None:
    """Before it is sent."""
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(ValueError, match=r"a\.txt is not an image"):
        Image.from_path(tmp_path / "a.txt")
    with pytest.raises(ValueError, match="the format is unknown"):
        Image.from_bytes(b"text")
    with pytest.raises(ValueError, match="expected https: or data:"):
        Image.from_url("http://example.com/a.png")
    with pytest.raises(OSError, match="No such file"):
        Image.from_path(tmp_path / "b.png")
