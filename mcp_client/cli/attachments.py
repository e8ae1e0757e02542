"""Reads the files that are sent with a message, and JSON Schemas."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Sequence
from pathlib import Path

from mcp_client import Blob, Image, Message, Role, Text
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
            blobs.append(Blob(mime_type=_mime_type(name), data=content))
    blobs += [_image(name) for name in images]
    prompt = "\n\n".join([each for each in texts if each.strip()])
    return Message(role=Role.USER, parts=[*([Text(text=prompt)] if prompt else []), *blobs])


def json_schema(value: str | None) -> str | None:
    """The JSON Schema of an option, which is its text or the path of a file."""
    if value is None:
        return None
    text = value
    if not value.lstrip().startswith("{"):
        try:
            text = _read(value, "--json-schema").decode()
        except UnicodeDecodeError:
            fail(f"--json-schema: {value} is not UTF-8 text", MISUSED)
    try:
        schema = json.loads(text)
    except ValueError as error:
        fail(f"--json-schema: not JSON: {error}", MISUSED)
    if not isinstance(schema, dict):
        fail("--json-schema: expected a JSON object", MISUSED)
    return text


def _image(name: str) -> Blob:
    try:
        return Image.from_path(Path(name).expanduser())
    except OSError as error:
        fail(f"--image: cannot read {name}: {error.strerror}", MISUSED)
    except ValueError:
        fail(f"--image: {name} is not an image of a known format", MISUSED)


def _read(name: str, option: str) -> bytes:
    try:
        return Path(name).expanduser().read_bytes()
    except OSError as error:
        fail(f"{option}: cannot read {name}: {error.strerror}", MISUSED)


def _mime_type(name: str) -> str:
    mime_type, _ = mimetypes.guess_type(name)
    if mime_type is None:
        fail(f"--file: the name of {name} does not tell its type: expected an ending like .png or .pdf", MISUSED)
    return mime_type
