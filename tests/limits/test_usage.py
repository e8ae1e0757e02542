"""QueryUsage: what was used, by whom and for what; it equals the sum of the attempts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

from contextprotocol.v1 import session_pb2, turn_pb2, usage_pb2
from mcp_server.errors import ProviderUnavailable
from mcp_server.interfaces import Finish
from mcp_server.testing import ScriptedProvider
from mcp_server.values import Usage, UsageSource
from tests.limits.conftest import ClockHand, Limited, caller
from tests.wire import Refused

USED = Usage(input_tokens=10, output_tokens=20, source=UsageSource.REPORTED)
REPORTED = 1


async def test_usage_by_everything(limited: Limited, clock: ClockHand) -> None:
    """Tenant, key, provider, model, session, label, hour and day, with the names of the contract."""
    callers = await limited(ScriptedProvider(["yes", Finish(usage=USED)]), {})
    await callers.wire.sessions.CreateSession(session_pb2.CreateSessionRequest(session_id="s"), metadata=caller("t"))
    await callers.chat(key="k1", session="sessions/s", labels={"team": "blue"})
    clock.pass_(3600)
    await callers.chat(key="k2", labels={"team": "red"})
    await callers.chat(tenant="other")
    one = (1, 1, 10, 20, 50_000)
    assert await callers.sums() == [(2, 2, 20, 40, 100_000)]
    assert await callers.sums("key") == [("keys/k1", *one), ("keys/k2", *one)]
    assert await callers.sums("session") == [("", *one), ("sessions/s", *one)]
    assert await callers.sums("label:team", "provider", "model") == [
        ("blue", "p", "scripted", *one),
        ("red", "p", "scripted", *one),
    ]
    assert await callers.sums("hour") == [("2027-01-15T12:00:00Z", *one), ("2027-01-15T13:00:00Z", *one)]
    assert await callers.sums("day", "tenant") == [("2027-01-15T00:00:00Z", "t", 2, 2, 20, 40, 100_000)]
    assert await callers.sums("day", "tenant", tenant="other") == [("2027-01-15T00:00:00Z", "other", *one)]


async def test_usage_is_filtered_and_paged(limited: Limited, clock: ClockHand) -> None:
    """By every field and by a period of whole hours; pages follow each other."""
    callers = await limited(ScriptedProvider(["yes", Finish(usage=USED)]), {})
    for number in range(4):
        await callers.chat(key=f"k{number}", labels={"parity": str(number % 2)})
        clock.pass_(3600)
    only = usage_pb2.UsageFilter
    assert [row[0] for row in await callers.sums("key", filter=only(labels={"parity": "1"}))] == ["keys/k1", "keys/k3"]
    assert [row[0] for row in await callers.sums("key", filter=only(key="keys/k2"))] == ["keys/k2"]
    assert await callers.sums(filter=only(provider="q")) == []
    request = usage_pb2.QueryUsageRequest(group_by=["key"], page_size=3)
    request.start_time.FromDatetime(datetime(2027, 1, 15, 13, 59, tzinfo=UTC))
    page = await callers.usage.QueryUsage(request, metadata=caller("t"))
    assert [row.group["key"] for row in page.rows] == ["keys/k1", "keys/k2", "keys/k3"]
    assert page.next_page_token == ""
    request = usage_pb2.QueryUsageRequest(group_by=["key"], page_size=3)
    first = await callers.usage.QueryUsage(request, metadata=caller("t"))
    request.page_token = first.next_page_token
    rest = await callers.usage.QueryUsage(request, metadata=caller("t"))
    assert [row.group["key"] for row in (*first.rows, *rest.rows)] == [f"keys/k{number}" for number in range(4)]
    assert rest.next_page_token == ""
    request.group_by.append("day")
    with Refused() as refused:
        await callers.usage.QueryUsage(request, metadata=caller("t"))
    assert set(refused.violations) == {"page_token"}


async def test_usage_equals_the_attempts(limited: Limited) -> None:
    """Failed ones included, also after the turns and their sessions are gone."""
    failing = ProviderUnavailable("down", retry_after=0)
    callers = await limited(ScriptedProvider([failing], ["yes", Finish(usage=USED)]), {})
    sessions, turns = callers.wire.sessions, callers.wire.turns
    await sessions.CreateSession(session_pb2.CreateSessionRequest(session_id="s"), metadata=caller("t"))
    for _ in range(3):
        await callers.chat(session="sessions/s")
    listed = await turns.ListTurns(turn_pb2.ListTurnsRequest(parent="sessions/s"), metadata=caller("t"))
    attempts = [attempt for turn in listed.turns for attempt in turn.attempts]
    assert len(attempts) == 4
    totals = (
        3,
        4,
        *[sum(getattr(each.usage, name) for each in attempts) for name in ("input_tokens", "output_tokens")],
    )
    assert await callers.sums() == [(*totals, sum(attempt.cost_nanos for attempt in attempts))]
    await sessions.DeleteSession(session_pb2.DeleteSessionRequest(name="sessions/s"), metadata=caller("t"))
    assert (await callers.sums())[0][:4] == totals


async def test_the_usage_of_another_tenant_needs_the_scope_operator(limited: Limited) -> None:
    """``*`` stands for all tenants."""
    callers = await limited(ScriptedProvider(["yes", Finish(usage=USED)]), {})
    await callers.chat()
    await callers.chat(tenant="other")
    for tenant in ("other", "*", "nobody"):
        request = usage_pb2.QueryUsageRequest(group_by=["tenant"], filter=usage_pb2.UsageFilter(tenant=tenant))
        with Refused() as refused:
            await callers.usage.QueryUsage(request, metadata=caller("t"))
        assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED")
        response = await callers.usage.QueryUsage(request, metadata=caller("t", scopes="operator"))
        names = {"other": ["other"], "*": ["other", "t"], "nobody": []}[tenant]
        assert [row.group["tenant"] for row in response.rows] == names


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"group_by": ["user"]}, {"group_by[0]"}),
        ({"group_by": ["label:"]}, {"group_by[0]"}),
        ({"group_by": ['label:a"b']}, {"group_by[0]"}),
        ({"group_by": ["key", "key"]}, {"group_by[1]"}),
        ({"group_by": ["key"] * 9}, {"group_by"}),
        ({"page_size": -1}, {"page_size"}),
        ({"page_token": "x"}, {"page_token"}),
        ({"filter": {"key": "k1"}}, {"filter.key"}),
        ({"filter": {"session": "s"}}, {"filter.session"}),
        ({"filter": {"labels": {"UP": "x"}}}, {"filter.labels['UP']"}),
        ({"start_time": {"seconds": 7200}, "end_time": {"seconds": 3600}}, {"end_time"}),
    ],
)
async def test_wrong_questions(limited: Limited, fields: Any, where: set[str]) -> None:
    """Each wrong field is named."""
    callers = await limited(ScriptedProvider(["yes", Finish(usage=USED)]), {})
    with Refused() as refused:
        await callers.usage.QueryUsage(usage_pb2.QueryUsageRequest(**fields), metadata=caller("t"))
    assert set(refused.violations) == where


async def test_times_beyond_the_ledger(limited: Limited) -> None:
    """The earliest and the latest time that a timestamp has."""
    callers = await limited(ScriptedProvider(["yes", Finish(usage=USED)]), {})
    await callers.chat()
    request = usage_pb2.QueryUsageRequest()
    request.start_time.seconds, request.end_time.seconds = -62135596800, 253402300799
    response = await callers.usage.QueryUsage(request, metadata=caller("t"))
    assert [row.turns for row in response.rows] == [1]
    assert response.rows[0].usage.source == REPORTED
