# Generated from tests/client/test_accounts.py by scripts/generate: edit that file.

"""API keys, limits and usage through the client, at a real server that asks who calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest

from mcp_client import (
    BadCredentials,
    EtagMismatch,
    KeyNotFound,
    KeyState,
    Limits,
    MCPSyncClient,
    NotAllowed,
    QuotaExceeded,
)
from mcp_server.settings import Config
from mcp_server.settings.tables import ModelOverrides, ModelSettings, PriceSettings
from mcp_server.testing import EchoProvider
from tests.auth.keys import config_with, new_key
from tests.client.blocking.beside import running

ADMIN = new_key("red", ["chat", "models", "usage", "admin", "sessions.read", "sessions.write"])
PRICE = PriceSettings(input=1_000.0, output=1_000.0, currency="EUR")


def config() -> Config:
    """A server with one key in its settings, whose model has a price: a thousandth for each token."""
    models = ModelSettings(default="echo/echo", settings={"*": ModelOverrides(price=PRICE)})
    return msgspec.structs.replace(config_with(ADMIN, stored_keys=True), models=models)


@contextmanager
def administrator() -> Iterator[MCPSyncClient]:
    """A client with that key."""
    with (
        running(config(), providers={"echo": EchoProvider()}) as server,
        MCPSyncClient(server.address, api_key=ADMIN.secret) as client,
    ):
        yield client


def test_a_key_lives_from_its_creation_to_its_end() -> None:
    """It works at once, is changed, and is refused when it is revoked."""
    tomorrow = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    limits = Limits(tokens_per_day=1000, cost_per_window=Decimal("2.5"), window=3600.0, currency="EUR", sessions=3)
    with administrator() as admin:
        created = admin.create_key(
            scopes=["chat"], display_name="app", limits=limits, labels={"team": "web"}, expire_time=tomorrow
        )
        key = created.key
        assert (key.tenant, key.scopes, key.limits, key.labels) == ("red", ("chat",), limits, {"team": "web"})
        assert (key.expire_time, key.state) == (tomorrow, KeyState.ACTIVE)
        assert admin.get_key(key.id) == key
        with MCPSyncClient(admin.address, api_key=created.secret) as app:
            caller = app.whoami()
            assert (caller.tenant, caller.key, caller.scopes) == ("red", key.name, ("chat",))
            left = {state.limit: state.remaining for state in caller.limits}
            assert left == {"tokens_per_day": 1000, "cost_per_window": Decimal("2.5"), "sessions": 3}
            assert (app.chat("Hi", max_output_tokens=10)).text == "Hi"
            with pytest.raises(NotAllowed):
                app.create_key(scopes=["chat"])
        changed = admin.update_key(key, display_name="renamed", limits=None, expire_time=None, etag=key.etag)
        assert (changed.display_name, changed.limits, changed.expire_time) == ("renamed", Limits(), None)
        assert changed.labels == {"team": "web"}
        with pytest.raises(EtagMismatch):
            admin.update_key(key, labels={}, etag=key.etag)
        listed = list(admin.list_keys(page_size=1))
        assert changed in listed
        revoked = admin.revoke_key(key)
        assert revoked.state is KeyState.REVOKED
        assert revoked.revoke_time is not None
        with MCPSyncClient(admin.address, api_key=created.secret) as app:
            with pytest.raises(BadCredentials):
                app.chat("Hi")
        with pytest.raises(KeyNotFound):
            admin.get_key("nosuchkey000")


def test_a_limit_that_is_used_up_is_named() -> None:
    """With the key that it binds."""
    with administrator() as admin:
        limits = Limits(tokens_per_day=1)
        created = admin.create_key(scopes=["chat"], limits=limits)
        with MCPSyncClient(admin.address, api_key=created.secret) as app:
            with pytest.raises(QuotaExceeded) as caught:
                app.chat("Hi")
        assert (caught.value.limit, caught.value.subject) == ("tokens_per_day", created.key.name)


def test_usage_is_summed_up_by_label_and_key() -> None:
    """It equals what the calls said."""
    with administrator() as admin:
        replies = [
            admin.chat("one two three", labels={"team": "web"}),
            admin.complete("four", labels={"team": "web"}),
            admin.chat("five", labels={"team": "search"}),
        ]
        tokens = [reply.usage.input_tokens + reply.usage.output_tokens for reply in replies]
        rows = list(admin.query_usage(group_by=["label:team", "key"], page_size=1))
        assert [(row.group["label:team"], row.turns) for row in rows] == [("search", 1), ("web", 2)]
        assert {row.group["key"] for row in rows} <= {ADMIN.id, f"keys/{ADMIN.id}"}
        sums = [row.usage.input_tokens + row.usage.output_tokens for row in rows]
        assert sums == [tokens[2], tokens[0] + tokens[1]]
        assert [(row.cost, row.currency) for row in rows] == [(Decimal(total) / 1000, "EUR") for total in sums]
        filtered = admin.query_usage(
            labels={"team": "web"}, provider="echo", start_time=datetime.now(UTC), session=None, key=ADMIN.id
        )
        assert [row.turns for row in filtered] == [2]
        past = datetime.now(UTC) - timedelta(days=2)
        assert list(admin.query_usage(end_time=past)) == []
