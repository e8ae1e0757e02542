"""What ``import mcp_client`` promises."""

from __future__ import annotations

import inspect

import pytest

import mcp_client
from contextprotocol.v1 import errors_pb2
from mcp_server.errors import BY_REASON


def test_every_public_name_is_there_once_and_in_order() -> None:
    """So that what a user may rely on is seen at a glance."""
    assert mcp_client.__all__ == sorted(set(mcp_client.__all__), key=lambda name: (not name.isupper(), name))
    imported = {
        name for name, value in vars(mcp_client).items() if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert imported == set(mcp_client.__all__)


def test_every_public_name_says_what_it_is() -> None:
    """Classes and their public methods, in words of their own."""
    for name in mcp_client.__all__:
        value = getattr(mcp_client, name)
        if not inspect.isclass(value):
            continue
        assert inspect.cleandoc(value.__doc__ or "").strip(), name
        assert not (value.__doc__ or "").startswith(f"{name}("), f"{name} has only what dataclass wrote"
        for method, function in vars(value).items():
            if inspect.isfunction(function) and not method.startswith("_"):
                assert function.__doc__, f"{name}.{method}"


def test_no_protobuf_shows_in_a_signature() -> None:
    """Arguments and results are plain Python."""
    for client in (mcp_client.MCPClient, mcp_client.MCPSyncClient):
        for name, function in inspect.getmembers(client, inspect.isfunction):
            if not name.startswith("_"):
                assert "pb2" not in str(inspect.signature(function)), name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (mcp_client.MCPClient, mcp_client.MCPSyncClient),
        (mcp_client.ParsedTurnStream, mcp_client.SyncParsedTurnStream),
        (mcp_client.SessionWatch, mcp_client.SyncSessionWatch),
        (mcp_client.TurnStream, mcp_client.SyncTurnStream),
    ],
)
def test_both_clients_have_the_same_methods(one: type, other: type) -> None:
    """With the same arguments in the same order, and the same defaults."""

    def public(kind: type) -> dict[str, dict[str, object]]:
        return {
            name: {key: value.default for key, value in inspect.signature(function).parameters.items()}
            for name, function in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    assert public(one) == public(other)


def test_client_and_server_know_every_reason_of_the_contract() -> None:
    """One status for each at the server, which is the one that the contract names."""
    reasons = {name.removeprefix("ERROR_REASON_") for name in errors_pb2.ErrorReason.DESCRIPTOR.values_by_name} - {
        "UNSPECIFIED"
    }
    assert BY_REASON.keys() == reasons
