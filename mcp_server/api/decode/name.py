"""Resource names."""

from __future__ import annotations

import re
from typing import Final

from mcp_server.rules import Violations, shown
from mcp_server.rules.limits import SESSION_ID, SESSION_ID_RULE
from mcp_server.values.key_secret import is_key_id

_TURN_NAME: Final = re.compile(rf"(?:sessions/({SESSION_ID.pattern})/)?turns/([a-z0-9]{{1,64}})")


def session_name(found: Violations, field: str, name: str) -> str:
    """The id in ``sessions/{session}``; of a malformed name, the name itself."""
    prefix, _, session_id = name.partition("/")
    if prefix == "sessions" and SESSION_ID.fullmatch(session_id):
        return session_id
    found.add(
        field, f"{shown(name)} is not a valid session name: must be sessions/ID, where the ID is {SESSION_ID_RULE}"
    )
    return name


def turn_name(found: Violations, field: str, name: str) -> tuple[str, str]:
    """The ids in ``sessions/{session}/turns/{turn}``, or in ``turns/{turn}``, where the first is empty."""
    match = _TURN_NAME.fullmatch(name)
    if match is None:
        found.add(
            field,
            f"{shown(name)} is not a valid turn name: must be sessions/SESSION/turns/TURN, or turns/TURN for a turn "
            "without a session",
        )
        return "", ""
    return match[1] or "", match[2]


def key_name(found: Violations, field: str, name: str) -> str:
    """The id in ``keys/{key}``."""
    prefix, _, key_id = name.partition("/")
    if prefix == "keys" and is_key_id(key_id):
        return key_id
    found.add(field, f"{shown(name)} is not a valid key name: must be keys/ID, where the ID is 12 characters [a-z0-9]")
    return ""


def model_name(found: Violations, field: str, name: str) -> str:
    """What follows ``models/``: an alias, or ``provider/model``."""
    prefix, _, model = name.partition("/")
    if prefix != "models" or not model:
        found.add(field, f"{shown(name)} is not a valid model name: must be models/MODEL, an alias or provider/model")
    return model
