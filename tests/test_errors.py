"""An error reason is the same everywhere: in the contract, the server, the client and the documentation."""

from __future__ import annotations

import base64
import http
import re
from pathlib import Path

import grpc
import pytest
from google.rpc import status_pb2

import mcp_client
from contextprotocol.v1 import errors_pb2
from mcp_server import errors
from mcp_server.errors import (
    BY_REASON,
    InternalError,
    InvalidArgument,
    MCPError,
    RetryAdvice,
    SessionBusy,
    Violation,
    recorded,
)
from mcp_server.rpc.status import status_and_trailers

ROOT = Path(__file__).parent.parent
PROTO = (ROOT / "protos" / "contextprotocol" / "v1" / "errors.proto").read_text()
REASONS = [name.removeprefix("ERROR_REASON_") for name in errors_pb2.ErrorReason.DESCRIPTOR.values_by_name][1:]


def test_the_contract_and_the_server_have_the_same_reasons() -> None:
    """Each value of the enum has exactly one class."""
    assert sorted(BY_REASON) == sorted(REASONS)
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, MCPError)]
    assert len({kind for kind in classes if "reason" in vars(kind)} - {MCPError}) == len(REASONS)


@pytest.mark.parametrize("reason", REASONS)
def test_the_contract_names_the_status_of_each_reason(reason: str) -> None:
    """At the beginning of the comment on the enum's value, as the server's class has it."""
    comments = re.findall(r"((?: +//.*\n)+) +ERROR_REASON_(\w+) =", PROTO)
    (comment,) = [comment for comment, name in comments if name == reason]
    kind = BY_REASON[reason]
    assert comment.strip().startswith(f"// {kind.code}: ")
    assert kind.code in grpc.StatusCode.__members__


@pytest.mark.parametrize("reason", REASONS)
def test_the_client_groups_each_reason_as_the_server_does(reason: str) -> None:
    """Its class has the same name and the same parent."""
    kind = BY_REASON[reason]
    assert [base.__name__ for base in getattr(mcp_client, kind.__name__).__bases__] == [
        base.__name__ for base in kind.__bases__
    ]


@pytest.mark.parametrize("kind", BY_REASON.values(), ids=lambda kind: kind.reason)
def test_every_class_states_all_facts(kind: type[MCPError]) -> None:
    """Its own reason, code, status and advice, not those of its parent."""
    assert {"reason", "code", "http_status", "action"} <= vars(kind).keys()
    assert kind.http_status in {499, *http.HTTPStatus}
    assert kind.__doc__
    assert kind.action.endswith(".")


def test_the_tree_is_drawn_as_it_is() -> None:
    """At the top of the file: every branch with its leaves, in order."""
    drawn = re.findall(r"(?:├──|└──) (\w+)", errors.__doc__ or "")
    assert drawn == [
        kind.__name__ for branch in MCPError.__subclasses__() for kind in (branch, *branch.__subclasses__())
    ]


def test_the_guide_draws_the_tree_of_the_client() -> None:
    """Every branch has its classes below it."""
    page = (ROOT / "docs" / "clients" / "python.md").read_text()
    drawn: dict[str, set[str]] = {}
    branch = ""
    for indented, name in re.findall(r"^(│? *)(?:├──|└──) (\w+)", page, re.MULTILINE):
        if indented:
            drawn[branch].add(name)
        else:
            branch = name
            drawn[branch] = set()
    assert drawn == {
        branch.__name__: {kind.__name__ for kind in branch.__subclasses__()}
        for branch in mcp_client.MCPError.__subclasses__()
    }


@pytest.mark.parametrize(
    "page", ["docs/streaming.md", *(f"docs/clients/{name}.md" for name in ("go", "java", "node", "ruby", "cpp"))]
)
def test_the_clients_in_the_documentation_retry_what_can_succeed(page: str) -> None:
    """Each of them has the list of reasons after which the same request is sent again."""
    lists = [
        set(re.findall(r"[A-Z]{2,}(?:_[A-Z]+)*", line)) & set(REASONS)
        for line in (ROOT / page).read_text().splitlines()
    ]
    same_request = {reason for reason, kind in BY_REASON.items() if kind.retry is RetryAdvice.SAME_REQUEST}
    assert same_request in lists


def test_a_recorded_error_is_of_its_class() -> None:
    """With its message and its metadata."""
    error = recorded("SESSION_BUSY", "busy", {"turn": "turns/a"})
    assert (type(error), error.message, error.metadata) == (SessionBusy, "busy", {"turn": "turns/a"})
    assert isinstance(recorded("INVALID_ARGUMENT", "bad", {}), InvalidArgument)


def test_a_recorded_reason_that_is_unknown_is_a_fault() -> None:
    """A later release may have written it."""
    assert isinstance(recorded("FROM_THE_FUTURE", "new", {}), InternalError)


def test_a_subclass_of_a_plug_in_does_not_replace_a_class() -> None:
    """It shares the reason of its parent, and is not what is recorded."""

    class Mine(SessionBusy):
        pass

    assert type(recorded("SESSION_BUSY", "busy", {})) is SessionBusy


@pytest.mark.parametrize("text", ["x" * 5000, "%" * 5000, "é" * 5000, "\U0001f600" * 1000, "\n" * 5000, "x", ""])
@pytest.mark.parametrize("kind", BY_REASON.values(), ids=list(BY_REASON))
def test_a_status_fits_the_trailers_whatever_it_says(kind: type[MCPError], text: str) -> None:
    """gRPC peers drop the status of a call with more than 8 KiB of trailers, as they are encoded; the limit is 6 kB."""
    metadata = dict.fromkeys(("session", "turn", "model", "etag", "subject"), text)
    if kind is InvalidArgument:
        error: MCPError = InvalidArgument([Violation(field=text, description=text)] * 50, more=7)
    else:
        error = kind(text, metadata=metadata, retry_after=1)
    status = status_and_trailers(error)
    size = sum([1 if 32 <= byte < 127 and byte != 37 else 3 for byte in status.message.encode()])
    for key, value in status.trailers:
        size += len(key) + (len(base64.b64encode(value)) if isinstance(value, bytes) else len(value))
    assert size < 6000
    details = dict(status.trailers)["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    assert status_pb2.Status.FromString(details).message == status.message
