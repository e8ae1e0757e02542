"""The two forms of messages: protobuf's wire format, and JSON."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from mcp_server.api.wire_limits import WALK_BYTES, Parse, limits_of, parser
from mcp_server.errors import InvalidArgument, Violation
from mcp_server.web.json_values import check_values

_OUTER: Final = re.compile(r"Failed to parse (\S+) field: ")
_PLACE: Final = re.compile(r" at \w+\.?([^ ]*?)\.*$")
_MSGSPEC_PLACE: Final = re.compile(r" - at `\$\.?(.*)`$")


class Codec(NamedTuple):
    """One form of messages."""

    name: str
    """As in content types."""
    parser: Callable[[Descriptor], Parse]
    """Makes what parses one kind of request within its limits."""
    encode: Callable[[Message], bytes]
    """A message in this form."""


def json_parser(request: Descriptor) -> Parse:
    """Return what parses a request in JSON within its limits. Fields that are not known are ignored.

    The returned function raises :class:`~mcp_server.errors.InvalidArgument` and names the field in question.
    """
    new = GetMessageClass(request)
    limits = limits_of(request)
    is_object = not request.full_name.startswith("google.protobuf.")  # some of those are written as another value

    def within_limits(body: bytes) -> Message:
        if len(body) > WALK_BYTES:
            if len(body) > limits.size:
                raise _refused(f"the request has {len(body)} bytes: this method takes at most {limits.size}")
            check_values(body, limits.fields)
        try:
            value = msgspec.json.decode(body or b"{}")
            if is_object and type(value) is not dict:
                raise _refused("the request is not a JSON object")
            message: Message = json_format.ParseDict(value, new(), ignore_unknown_fields=True)
        except json_format.ParseError as error:
            raise _misread(str(error)) from None
        except RecursionError:
            raise _refused("the request is nested too deeply") from None
        except msgspec.MsgspecError as error:
            text = str(error)
            place = _MSGSPEC_PLACE.search(text)
            field = place[1] if place and "[...]" not in place[1] else ""
            raise _refused(f"the request is not JSON: {_MSGSPEC_PLACE.sub('', text)}", field) from None
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            raise _refused(f"the request does not have the form of {request.name} in JSON: {error}") from None
        return message

    return within_limits


def _misread(text: str) -> InvalidArgument:
    """The error for what ``json_format`` says, which puts the field before or behind it."""
    names = _OUTER.findall(text)
    problem = _OUTER.sub("", text).rstrip(".")
    place = _PLACE.search(problem)
    path = place[1].split(".") if place and place[1] else []
    # json_format often names a message where one of its fields is wrong.
    return _refused(_PLACE.sub("", problem), ".".join([*path, *names[len(path) :]]))


def _refused(problem: str, field: str = "") -> InvalidArgument:
    return InvalidArgument([Violation(field=field, description=problem)])


def _to_json(message: Message) -> bytes:
    return msgspec.json.encode(json_format.MessageToDict(message))


def _to_protobuf(message: Message) -> bytes:
    return message.SerializeToString()


JSON: Final = Codec("json", json_parser, _to_json)
PROTOBUF: Final = Codec("proto", parser, _to_protobuf)
