"""The ids of responses, conversations and items: the names of turns, sessions and messages in a form of their own."""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

from mcp_server.values import Blob, Message, Part, Reasoning, Refusal, Text, ToolCall, ToolResult


class TurnId(NamedTuple):
    """The ids of a turn and of its session, which is empty if it has none."""

    session: str
    turn: str


def turn_of_name(name: str) -> TurnId:
    """The ids in the full name of a turn."""
    front, _, turn = name.rpartition("turns/")
    return TurnId(front.removeprefix("sessions/").rstrip("/"), turn)


def response_id(turn: TurnId) -> str:
    """The id of the response that a turn is."""
    return "resp_" + _encoded(f"{turn.turn}/{turn.session}")


def parse_response_id(text: str) -> TurnId | None:
    """The turn of a response; ``None`` if this is not the id of one."""
    turn, slash, session = _decoded("resp_", text).partition("/")
    return TurnId(session, turn) if slash and turn else None


def conversation_id(session: str) -> str:
    """The id of the conversation that a session is."""
    return "conv_" + _encoded(session)


def parse_conversation_id(text: str) -> str:
    """The session of a conversation; empty if this is not the id of one."""
    return _decoded("conv_", text)


def _encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def _decoded(prefix: str, text: str) -> str:
    """What was encoded; empty if the text is not exactly what the encoding makes."""
    body = text.removeprefix(prefix)
    if body == text:
        return ""
    try:
        found = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
    return found if found.isascii() and found.isprintable() and _encoded(found) == body else ""


# -- items ------------------------------------------------------------------------------------------------------------

_PREFIXES = {Text: "msg", Refusal: "msg", Blob: "msg", ToolCall: "fc", ToolResult: "fco", Reasoning: "rs"}


def answer_item_id(turn: str, kind: type[Part], number: int) -> str:
    """The id of an item of an answer.

    Args:
        turn: the id of the turn.
        kind: the class of the first part of the item.
        number: which item of the answer it is, from 0.
    """
    return f"{_PREFIXES.get(kind, 'rs')}_{turn}_{number}"


def item_id(message: Message, kind: type[Part], number: int) -> str:
    """The id of an item of a stored message. It is the same in all forks of the session."""
    if message.finish_reason is not None and message.turn:
        return answer_item_id(turn_of_name(message.turn).turn, kind, number)
    return f"{_PREFIXES.get(kind, 'rs')}_{message.create_time:x}_{message.index}_{number}"


def index_of_item(text: str) -> int | None:
    """The index of the message of an item, if its id tells it: that of an answer does not."""
    parts = text.split("_")
    return int(parts[2]) if len(parts) == 4 and parts[2].isdecimal() and len(parts[2]) < 10 else None
