# Generated from tests/client/test_errors.py by scripts/generate: edit that file.

"""What a caller catches: one class for each reason of the contract."""

from __future__ import annotations

import copy
import pickle

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

import mcp_client
from contextprotocol.v1 import errors_pb2
from mcp_client import (
    DeadlineExceeded,
    InternalError,
    InvalidArgument,
    MCPError,
    MCPSyncClient,
    NotSupported,
    RequestError,
    ServerUnavailable,
    TryLater,
)
from mcp_client.errors import BY_REASON
from mcp_server import errors as server_errors
from tests.client.blocking.beside import ScriptedProvider, StandIn
from tests.client.blocking.conftest import Connect
from tests.client.stand_in import Failure

REASONS = {name.removeprefix("ERROR_REASON_") for name in errors_pb2.ErrorReason.DESCRIPTOR.values_by_name} - {
    "UNSPECIFIED"
}

LEAVES = sorted(
    (
        kind
        for kind in vars(server_errors).values()
        if isinstance(kind, type) and issubclass(kind, server_errors.MCPError) and not kind.__subclasses__()
    ),
    key=lambda kind: kind.__name__,
)
"""Every error of the server that is not a branch."""


def test_every_reason_of_the_contract_has_a_class() -> None:
    """A reason that is added to the contract is a decision about the tree."""
    assert BY_REASON.keys() == REASONS


def test_the_tree_is_drawn_as_it_is() -> None:
    """At the top of the file."""
    drawn = mcp_client.errors.__doc__ or ""
    branches: dict[str, list[str]] = {}
    for line in drawn.splitlines():
        name = line.strip("│├└─ ").split(" ")[0]
        if line.strip().startswith(("├── ", "└── ")):
            branches[name] = []
        elif "│   " in line:
            branches[list(branches)[-1]].append(name)
    assert branches.keys() == {kind.__name__ for kind in MCPError.__subclasses__()}
    for branch, leaves in branches.items():
        assert set(leaves) == {kind.__name__ for kind in getattr(mcp_client, branch).__subclasses__()}
    names = {*branches, *(leaf for leaves in branches.values() for leaf in leaves), "MCPError"}
    assert names <= set(mcp_client.__all__)


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("streamed", [False, True], ids=["unary", "stream"])
def test_an_error_of_the_server_has_its_namesake_here(
    connect: Connect, kind: type[server_errors.MCPError], streamed: bool
) -> None:
    """In the same branch, with the same reason and facts; around the call and around the stream."""
    raised: server_errors.MCPError
    if kind is server_errors.InvalidArgument:
        raised = server_errors.InvalidArgument(
            [
                server_errors.Violation(field="messages[0]", description="bad"),
                server_errors.Violation(field="messages[0]", description="worse"),
            ]
        )
    else:
        raised = kind("what, where, and what to do", metadata={"fact": "1"}, retry_after=1.5)
    client = connect(ScriptedProvider(["Hel", raised]), retry=None)
    with pytest.raises(MCPError) as caught:
        if streamed:
            with client.stream_chat("Hi") as stream:
                for token in stream:
                    assert token == "Hel"
        else:
            client.chat("Hi")
    error = caught.value
    assert type(error).__name__ == kind.__name__
    assert [base.__name__ for base in type(error).__mro__] == [base.__name__ for base in kind.__mro__]
    assert error.reason == kind.reason
    assert error.turn.startswith("turns/")
    assert error.__cause__ is not None
    if isinstance(error, InvalidArgument):
        assert error.violations == {"messages[0]": "bad; worse"}
    elif not isinstance(error, InternalError):
        assert str(error) == "what, where, and what to do"
        assert error.metadata["fact"] == "1"
        assert error.retry_after == 1.5


def test_a_fault_of_the_server_shows_nothing_but_an_id(connect: Connect) -> None:
    """To look up in its log."""
    client = connect(ScriptedProvider([ArithmeticError("secret")]))
    with pytest.raises(MCPError) as caught:
        client.chat("Hi")
    assert "secret" not in repr(caught.value)


def test_what_the_server_does_not_offer_is_named(client: MCPSyncClient) -> None:
    """A method that a later release brings."""
    from contextprotocol.v1 import turn_pb2
    from mcp_client._core.methods import Method

    method = Method(turn_pb2.DESCRIPTOR.services_by_name["TurnService"].methods_by_name["GetTurn"])
    method.path = "/contextprotocol.v1.TurnService/DreamTurn"
    with pytest.raises(NotSupported):
        client._transport.unary(method, turn_pb2.GetTurnRequest(name="turns/x"), 5)


def test_an_error_survives_copying_and_pickling(client: MCPSyncClient) -> None:
    """It may cross to another process."""
    with pytest.raises(InvalidArgument) as caught:
        client.chat("Hi", temperature=9)
    for twin in (copy.copy(caught.value), pickle.loads(pickle.dumps(caught.value))):  # noqa: S301  # our own bytes
        assert type(twin) is InvalidArgument
        assert (str(twin), twin.details) == (str(caught.value), caught.value.details)
        assert "config.temperature" in twin.violations


def packed(reason: str, domain: str) -> bytes:
    """Details with a reason."""
    status = status_pb2.Status()
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata={"fact": "1"}))
    return status.SerializeToString()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, RequestError),
        (grpc.StatusCode.NOT_FOUND, RequestError),
        (grpc.StatusCode.FAILED_PRECONDITION, RequestError),
        (grpc.StatusCode.UNIMPLEMENTED, NotSupported),
        (grpc.StatusCode.UNAUTHENTICATED, mcp_client.BadCredentials),
        (grpc.StatusCode.PERMISSION_DENIED, mcp_client.NotAllowed),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, TryLater),
        (grpc.StatusCode.UNAVAILABLE, ServerUnavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded),
        (grpc.StatusCode.DATA_LOSS, InternalError),
        (grpc.StatusCode.UNKNOWN, InternalError),
    ],
)
@pytest.mark.parametrize(
    ("details", "reason"),
    [
        pytest.param(b"", "", id="none"),
        pytest.param(b"\xff\xff", "", id="unreadable"),
        pytest.param(packed("SESSION_NOT_FOUND", "example.com"), "", id="foreign"),
        pytest.param(packed("NEWER_THAN_US", "contextprotocol"), "NEWER_THAN_US", id="newer"),
    ],
)
def test_a_reason_that_is_not_known_goes_by_the_code(
    code: grpc.StatusCode, kind: type[MCPError], details: bytes, reason: str
) -> None:
    """As from a proxy, or from a newer server."""
    with StandIn([Failure(code, details=details)]) as server, MCPSyncClient(server.address, retry=None) as client:
        with pytest.raises(MCPError) as caught:
            with client.stream_chat("Hi") as stream:
                stream.reply()
    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.reason) == (code.name, reason)
    assert caught.value.metadata == ({"fact": "1"} if reason else {})


def test_a_cancelled_call_is_the_turns_end_only_if_the_server_says_so() -> None:
    """Without a reason of the contract, nobody has seen it."""
    ours = Failure(grpc.StatusCode.CANCELLED, details=packed("NEWER_THAN_US", "contextprotocol"))
    foreign = Failure(grpc.StatusCode.CANCELLED, details=packed("ANYTHING", "example.com"))
    with StandIn([ours], [foreign]) as server, MCPSyncClient(server.address, retry=None) as client:
        for kind, code in ((TryLater, "CANCELLED"), (ServerUnavailable, "UNAVAILABLE")):
            with pytest.raises(MCPError) as caught:
                client.chat("Hi")
            assert (type(caught.value), caught.value.code) == (kind, code)


def test_errors_of_the_connection_are_worth_another_try() -> None:
    """They belong to the branch that says so."""
    assert issubclass(ServerUnavailable, TryLater)
    assert issubclass(DeadlineExceeded, TryLater)
