"""The limits of the contract, and the patterns of its names."""

from __future__ import annotations

import re
from typing import Final

from mcp_server.values import SECOND

KIB: Final = 1024
MIB: Final = 1024 * KIB

SESSION_ID: Final = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
SESSION_ID_RULE: Final = "1 to 63 characters of a-z, 0-9 and -, beginning with a letter and not ending with -"
LABEL_KEY: Final = re.compile(r"[a-z][a-z0-9_./-]{0,62}")
CONTEXT_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
TOOL_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}")

# Characters, as the patterns say: a name that is only too long gets that advice instead of the pattern.
MAX_SESSION_ID: Final = 63
MAX_LABEL_KEY: Final = 63
MAX_CONTEXT_NAME: Final = 128
MAX_TOOL_NAME: Final = 128

MAX_RESPONSE_BYTES: Final = 3_500_000
"""No response is larger: generated clients refuse more than 4 MiB."""

MAX_REQUEST_ID: Final = 128
"""Characters."""
MAX_ETAG: Final = 4 * KIB
"""Characters; those of the server are far shorter."""
MAX_MODEL_NAME: Final = 256
"""Characters."""

MAX_MESSAGES: Final = 1000
"""Messages of one request."""
MAX_MESSAGE_BYTES: Final = 3 * MIB
MAX_MESSAGE_NAME: Final = 64
"""Characters."""
MAX_PARTS: Final = 1000
"""Parts of one message."""
MAX_TOOL_CALL_ID: Final = 64 * KIB
"""Characters, also of the name of a called tool: histories of other systems hold what their models wrote."""
MAX_STATE_BYTES: Final = 256 * KIB
"""Of one ``provider_state``."""
MAX_PROVIDER_NAME: Final = 256
"""Characters."""
MAX_URI_BYTES: Final = 8 * KIB
MAX_MIME_TYPE: Final = 255
"""Characters."""

MAX_TOOLS: Final = 128
"""Tools of one request."""
MAX_TOOL_DESCRIPTION_BYTES: Final = 32 * KIB
MAX_TOOLS_BYTES: Final = MIB
"""Of all descriptions and schemas of one request's tools together."""
MAX_SCHEMA_BYTES: Final = 64 * KIB
"""Of a JSON Schema, as text."""
MAX_SCHEMA_DEPTH: Final = 100
"""Objects and arrays within each other, of a JSON Schema."""

MAX_INT32: Final = 2**31 - 1
MIN_INT64: Final = -(2**63)
MAX_INT64: Final = 2**63 - 1
MAX_STOPS: Final = 16
"""Stop strings of one request."""
MAX_STOP: Final = 256
"""Characters of one of them."""
MAX_LOGPROBS: Final = 20
MIN_TIMEOUT: Final = SECOND // 1000
MAX_TIMEOUT: Final = 86_400 * SECOND

MAX_STRUCT_BYTES: Final = 64 * KIB
"""Of the JSON objects ``metadata`` and ``provider_options``."""

MIN_TTL: Final = SECOND
MAX_TTL: Final = 3650 * 86_400 * SECOND
MAX_LABELS: Final = 64
MAX_CALL_LABELS: Final = 16
"""Labels of a call."""
MAX_USAGE_GROUPS: Final = 8
"""Items by which one question groups usage."""
MAX_LABEL: Final = 128
"""Characters of a label's value."""
MAX_MASK_PATHS: Final = 100
"""Paths of one update mask; more than there are fields to change, since a path may be repeated."""
MAX_SYSTEM_INSTRUCTION_BYTES: Final = 256 * KIB
MAX_HIDDEN_TURNS: Final = 1000
"""Turns of one session that are hidden although its history has their messages."""
MAX_CONTEXT_ENTRIES: Final = 256
"""Entries of one session."""
MAX_CONTEXT_BYTES: Final = MIB
"""Of all entries of one session together."""

MAX_EMBEDDING_INPUTS: Final = 2048
"""Texts of one request, whatever the model takes."""
MAX_EMBEDDING_INPUT_BYTES: Final = MIB
"""Of one text."""

TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
TENANT_RULE: Final = "1 to 63 letters, digits, . _ and -, beginning with a letter or a digit"
MODEL_PATTERN: Final = re.compile(r"\S{1,256}")
MAX_MODEL_PATTERNS: Final = 64
"""Of one API key."""
MAX_DISPLAY_NAME: Final = 128
"""Characters."""
MIN_WINDOW: Final = 3600 * SECOND
MAX_WINDOW: Final = 31 * 24 * MIN_WINDOW
"""The rolling window of the limits of an API key, in whole hours."""
MAX_AMOUNT: Final = 10**18
"""Of any limit of an API key."""
CURRENCY: Final = re.compile("[A-Z]{3}")
MAX_TIME: Final = 7_258_118_400 * SECOND
"""The beginning of the year 2200: nanoseconds since 1970 must fit into 64 bits."""
