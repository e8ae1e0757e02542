"""Reads the files that a message takes along, and JSON Schemas."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Sequence
from pathlib import Path

from mcp_client import Blob, Message, Role, Text
from mcp_client.cli.failures import MISUSED, fail


def message_with(text: str, files: Sequence[str], images: Sequence[str]) -> str | Message:
    """A message with files: texts follow the prompt behind an empty line, other files and images are parts."""
    if not files and not images:
        return text
    texts, blobs = [text], []
    for name in files:
        content = _read(name, "--file")
        try:
            texts.append(content.decode().removesuffix("\n"))
        except UnicodeDecodeError:
            blobs.append(Blob(mime_type=_mime_type(name, "--file"), data=content))
    for name in images:
        mime_type = _mime_type(name, "--image")
        if not mime_type.startswith("image/"):
            fail(f"--image: {name} is not named like an image, but like {mime_type}", MISUSED)
        blobs.append(Blob(mime_type=mime_type, data=_read(name, "--image")))
    prompt = "\n\n".join([each for each in texts if each.strip()])
    return Message(role=Role.USER, parts=[*([Text(text=prompt)] if prompt else []), *blobs])


def json_schema(given: str | None) -> str | None:
    """A JSON Schema that is given as text or as the path of a file."""
    if given is None:
        return None
    text = given
    if not given.lstrip().startswith("{"):
        try:
            text = _read(given, "--json-schema").decode()
        except UnicodeDecodeError:
            fail(f"--json-schema: {given} is not UTF-8 text", MISUSED)
    try:
        schema = json.loads(text)
    except ValueError as error:
        fail(f"--json-schema: not JSON: {error}", MISUSED)
    if not isinstance(schema, dict):
        fail("--json-schema: expected a JSON object", MISUSED)
    return text


def _read(name: str, option: str) -> bytes:
    try:
        return Path(name).expanduser().read_bytes()
    except OSError as error:
        fail(f"{option}: cannot read {name}: {error.strerror}", MISUSED)


def _mime_type(name: str, option: str) -> str:
    mime_type, _ = mimetypes.guess_type(name)
    if mime_type is None:
        fail(f"{option}: the name of {name} does not tell its type: expected an ending like .png or .pdf", MISUSED)
    return mime_type
