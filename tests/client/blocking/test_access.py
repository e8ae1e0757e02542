# Generated from tests/client/test_access.py by scripts/generate: edit that file.

"""API keys, limits and usage through the client: what is sent, and what is made of the answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import grpc
import pytest
from google.protobuf import duration_pb2, timestamp_pb2

from contextprotocol.v1 import key_pb2, message_pb2, usage_pb2
from mcp_client import (
    BadCredentials,
    KeyNotFound,
    KeyState,
    Limits,
    LimitState,
    MCPSyncClient,
    QuotaExceeded,
    Retry,
    ServerUnavailable,
    Usage,
)
from tests.client.blocking.beside import StandIn, running
from tests.client.providers import Letters
from tests.client.stand_in import Failure

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
LATER = timestamp_pb2.Timestamp(seconds=int(NOON.timestamp()) + 3600)
LIMITS = key_pb2.Limits(
    requests_per_minute=60,
    request_burst=10,
    tokens_per_minute=1000,
    token_burst=0,
    tokens_per_day=10_000,
    tokens_per_month=100_000,
    cost_nanos_per_day=1_500_000_000,
    cost_nanos_per_month=1,
    window=duration_pb2.Duration(seconds=6 * 3600),
    tokens_per_window=5000,
    cost_nanos_per_window=2_000_000_000,
    currency="EUR",
    concurrent_turns=3,
    sessions=4,
    stored_bytes=5,
)
SAME_LIMITS = Limits(
    requests_per_minute=60,
    request_burst=10,
    tokens_per_minute=1000,
    token_burst=0,
    tokens_per_day=10_000,
    tokens_per_month=100_000,
    cost_per_day=Decimal("1.5"),
    cost_per_month=Decimal("1e-9"),
    window=6 * 3600.0,
    tokens_per_window=5000,
    cost_per_window=2,
    currency="EUR",
    concurrent_turns=3,
    sessions=4,
    stored_bytes=5,
)
KEY = key_pb2.Key(
    name="keys/abcdefghijkl",
    display_name="nightly",
    tenant="blue",
    scopes=["chat", "models"],
    models=["fast/*"],
    limits=LIMITS,
    labels={"team": "search"},
    create_time=timestamp_pb2.Timestamp(seconds=int(NOON.timestamp())),
    update_time=LATER,
    expire_time=LATER,
    state=key_pb2.Key.STATE_ACTIVE,
    etag="e1",
)
LOST = Failure()


def test_a_key_is_created_and_its_secret_is_not_shown() -> None:
    """All arguments arrive, and the answer has all that the server says."""
    answer = key_pb2.CreateKeyResponse(key=KEY, secret="ctx_secret")
    with StandIn(answers={"CreateKey": [answer]}) as server, MCPSyncClient(server.address) as client:
        created = client.create_key(
            scopes=["chat", "models"],
            display_name="nightly",
            tenant="blue",
            models=["fast/*"],
            limits=SAME_LIMITS,
            labels={"team": "search"},
            expire_time=datetime(2026, 11, 28, 14, tzinfo=timezone(timedelta(hours=1))),
        )
    (request,) = server.requests
    sent = key_pb2.Key()
    sent.CopyFrom(KEY)
    for field in ("name", "create_time", "update_time", "state", "etag"):
        sent.ClearField(field)
    assert request.key == sent
    assert created.secret == "ctx_secret"
    assert "ctx_secret" not in repr(created)
    key = created.key
    assert (key.name, key.id, key.display_name, key.tenant) == (
        "keys/abcdefghijkl",
        "abcdefghijkl",
        "nightly",
        "blue",
    )
    assert (key.scopes, key.models, key.labels) == (("chat", "models"), ("fast/*",), {"team": "search"})
    assert key.limits == SAME_LIMITS
    assert (key.create_time, key.expire_time, key.revoke_time) == (NOON, NOON + timedelta(hours=1), None)
    assert (key.state, key.etag, key.from_settings) == (KeyState.ACTIVE, "e1", False)


def test_a_key_is_created_once() -> None:
    """If its answer is lost, nobody knows its secret: a second call would leave a key that nobody uses."""
    with (
        StandIn(answers={"CreateKey": [LOST], "UpdateKey": [LOST], "GetKey": [LOST, KEY]}) as server,
        MCPSyncClient(server.address, retry=Retry(initial_delay=0.001)) as client,
    ):
        with pytest.raises(ServerUnavailable):
            client.create_key(scopes=["chat"])
        with pytest.raises(ServerUnavailable):
            client.update_key("abcdefghijkl", display_name="x")
        client.get_key("abcdefghijkl")
    assert len(server.requests) == 4


def test_a_key_is_known_by_its_id_its_name_and_itself() -> None:
    """In every method that takes one."""
    answers = {"GetKey": [KEY, KEY], "UpdateKey": [KEY], "RevokeKey": [KEY]}
    with StandIn(answers=answers) as server, MCPSyncClient(server.address) as client:
        key = client.get_key("abcdefghijkl")
        client.get_key("keys/abcdefghijkl")
        client.update_key(key, display_name="x")
        client.revoke_key(key)
    first, second, update, revoked = server.requests
    assert {first.name, second.name, update.key.name, revoked.name} == {"keys/abcdefghijkl"}


def test_an_update_changes_what_is_given() -> None:
    """``None`` clears what may be unset; what is left out stays."""
    with StandIn(answers={"UpdateKey": [KEY, KEY, KEY]}) as server, MCPSyncClient(server.address) as client:
        client.update_key(
            "k", display_name="n", scopes=["chat"], models=["*"], limits=SAME_LIMITS, labels={"a": "b"}, etag="e"
        )
        client.update_key("k", limits=None, expire_time=None, models=[], labels={})
        client.update_key("k", expire_time=NOON)
    everything, cleared, one = server.requests
    assert list(everything.update_mask.paths) == ["display_name", "scopes", "models", "limits", "labels"]
    assert (everything.key.etag, everything.key.limits, dict(everything.key.labels)) == ("e", LIMITS, {"a": "b"})
    assert list(cleared.update_mask.paths) == ["models", "limits", "labels", "expire_time"]
    assert cleared.key == key_pb2.Key(name="keys/k")
    assert list(one.update_mask.paths) == ["expire_time"]
    assert one.key.expire_time.ToDatetime(UTC) == NOON


def test_keys_are_listed_page_by_page() -> None:
    """Of the tenant that is asked for. States of a later version are unknown ones."""
    later = key_pb2.Key(name="keys/later", state=99, revoke_time=LATER)  # type: ignore[arg-type]  # of a later contract
    pages = [
        key_pb2.ListKeysResponse(keys=[KEY], next_page_token="more"),
        key_pb2.ListKeysResponse(keys=[later]),
    ]
    with StandIn(answers={"ListKeys": pages}) as server, MCPSyncClient(server.address) as client:
        keys = list(client.list_keys(tenant="blue", page_size=1))
    assert [(key.id, key.state) for key in keys] == [
        ("abcdefghijkl", KeyState.ACTIVE),
        ("later", KeyState.UNKNOWN),
    ]
    assert keys[1].revoke_time == NOON + timedelta(hours=1)
    assert keys[1].limits == Limits()
    assert [(request.tenant, request.page_size, request.page_token) for request in server.requests] == [
        ("blue", 1, ""),
        ("blue", 1, "more"),
    ]


def test_a_caller_learns_what_is_left() -> None:
    """Costs are decimal numbers, under the names of the fields of Limits."""
    state = key_pb2.LimitState
    answer = key_pb2.WhoAmIResponse(
        tenant="blue",
        key="keys/k",
        scopes=["chat"],
        models=["fast/*"],
        limits=[
            state(subject="tenants/blue", limit="tokens_per_day", allowed=10, used=12, reset_time=LATER),
            state(
                subject="keys/k", limit="cost_nanos_per_day", allowed=2 * 10**9, used=5 * 10**8, remaining=15 * 10**8
            ),
        ],
    )
    with StandIn(answers={"WhoAmI": [answer]}) as server, MCPSyncClient(server.address) as client:
        caller = client.whoami()
    assert (caller.tenant, caller.key, caller.scopes, caller.models) == ("blue", "keys/k", ("chat",), ("fast/*",))
    assert list(caller.limits) == [
        LimitState(
            subject="tenants/blue",
            limit="tokens_per_day",
            allowed=10,
            used=12,
            remaining=0,
            reset_time=NOON + timedelta(hours=1),
        ),
        LimitState(
            subject="keys/k",
            limit="cost_per_day",
            allowed=Decimal(2),
            used=Decimal("0.5"),
            remaining=Decimal("1.5"),
            reset_time=None,
        ),
    ]


def test_usage_is_summed_up_as_asked() -> None:
    """Every filter arrives; costs are decimal numbers."""
    row = usage_pb2.UsageRow(
        group={"model": "m", "label:team": ""},
        turns=2,
        attempts=3,
        usage=message_pb2.Usage(input_tokens=10, output_tokens=5),
        cost_nanos=1_250_000_000,
        currency="USD",
    )
    pages = [
        usage_pb2.QueryUsageResponse(rows=[row], next_page_token="more"),
        usage_pb2.QueryUsageResponse(rows=[usage_pb2.UsageRow()]),
    ]
    with StandIn(answers={"QueryUsage": pages}) as server, MCPSyncClient(server.address) as client:
        rows = list(
            client.query_usage(
                start_time=NOON,
                end_time=NOON + timedelta(hours=1),
                group_by=["model", "label:team"],
                tenant="*",
                key="k",
                provider="p",
                model="m",
                session="tour",
                labels={"team": "search"},
                page_size=1,
            )
        )
    first, other = rows
    assert (first.group, first.turns, first.attempts) == ({"model": "m", "label:team": ""}, 2, 3)
    assert (first.usage, first.cost, first.currency) == (
        Usage(input_tokens=10, output_tokens=5),
        Decimal("1.25"),
        "USD",
    )
    assert other.group == {}
    assert other.cost == 0
    request, following = server.requests
    assert request.start_time.ToDatetime(UTC) == NOON
    assert request.end_time == LATER
    assert list(request.group_by) == ["model", "label:team"]
    assert request.filter == usage_pb2.UsageFilter(
        tenant="*", key="keys/k", provider="p", model="m", session="sessions/tour", labels={"team": "search"}
    )
    assert (request.page_size, following.page_token) == (1, "more")


def test_a_limit_that_is_reached_is_named() -> None:
    """With whom it binds, and when to come back."""
    metadata = {"limit": "cost_nanos_per_day", "subject": "tenants/blue"}
    exhausted = Failure.of(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED", retry_after=0.5, metadata=metadata)
    missing = Failure.of(grpc.StatusCode.NOT_FOUND, "KEY_NOT_FOUND")
    server = StandIn([exhausted], answers={"GetKey": [missing]})
    with server, MCPSyncClient(server.address) as client:
        with pytest.raises(QuotaExceeded) as caught:
            client.chat("Hi")
        with pytest.raises(KeyNotFound):
            client.get_key("k")
    assert (caught.value.limit, caught.value.subject) == ("cost_per_day", "tenants/blue")
    assert caught.value.retry_after == 0.5
    assert len(server.requests) == 2


def test_labels_of_calls_reach_the_server() -> None:
    """Of turns, which carry them, and of each batch of embeddings."""
    provider = Letters()
    with running(providers={"letters": provider}) as server, MCPSyncClient(server.address) as client:
        assert len((client.embed(["a", "b", "c", "d"], labels={"team": "search"})).vectors) == 4
    with running() as server, MCPSyncClient(server.address) as client:
        replies = [
            client.chat("Hi", labels={"team": "search"}),
            client.complete("Hi", labels={"team": "search"}),
        ]
        with client.stream_chat("Hi", labels={"team": "search"}) as stream:
            replies.append(stream.reply())
        with client.stream_complete("Hi", labels={"team": "search"}) as stream:
            replies.append(stream.reply())
        for reply in replies:
            assert (client.get_turn(reply.turn)).labels == {"team": "search"}


def test_an_api_key_is_sent_with_every_call() -> None:
    """Beside other metadata, whether that is a value or a function."""
    server = StandIn()
    server.token = "ctx_secret"
    with server:
        for metadata in (None, {"x-team": "blue"}, lambda: {"x-team": "blue"}):
            with MCPSyncClient(server.address, api_key="ctx_secret", metadata=metadata) as client:
                assert (client.chat("Hi")).text == "ok"
        with MCPSyncClient(server.address, api_key="ctx_other") as client:
            with pytest.raises(BadCredentials):
                client.chat("Hi")
        with MCPSyncClient(
            server.address, api_key="ctx_secret", metadata=lambda: {"Authorization": "Bearer x"}
        ) as client:
            with pytest.raises(ValueError, match="api_key: cannot be combined"):
                client.chat("Hi")
    assert [call.get("x-team") for call in server.metadata] == [None, "blue", "blue", None]
