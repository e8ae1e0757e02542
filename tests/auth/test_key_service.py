"""Keys that calls create, read, change and revoke."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from google.protobuf import duration_pb2, field_mask_pb2, timestamp_pb2

from contextprotocol.v1 import key_pb2
from mcp_server.plugins import built_in
from mcp_server.settings import LimitSettings
from mcp_server.testing import EchoProvider
from mcp_server.values import SCOPES
from mcp_server.values.key_secret import hash_of, key_id_of
from tests.auth.keys import Metadata, NewKey, bearer, config_with, new_key
from tests.conftest import Serve
from tests.wire import Refused, Wire

OPERATOR = new_key("red")
ADMIN = new_key("red", ["admin", "chat", "models"], display_name="administration", limits="small", models=("echo/*",))
BLUE = new_key("blue", ["admin"])
SMALL = LimitSettings(tokens_per_day=1000, cost_per_month=2.5, requests_per_minute=10)


@pytest.fixture(params=["memory", "sqlite"])
async def wire(serve: Serve, tmp_path: Path, request: pytest.FixtureRequest) -> Wire:
    """A server that stores keys, one after the other on every store."""
    config = msgspec.structs.replace(
        config_with(OPERATOR, ADMIN, BLUE, stored_keys=True),
        limits={"small": SMALL},
        store=built_in("stores", request.param)(path=tmp_path / "sessions.db"),
    )
    return await serve(config, providers={"echo": EchoProvider()})


async def create(wire: Wire, key: NewKey = OPERATOR, **fields: Any) -> key_pb2.CreateKeyResponse:
    """Create a key with another one."""
    fields = {"scopes": ["chat"], **fields}
    request = key_pb2.CreateKeyRequest(key=key_pb2.Key(**fields))
    created: key_pb2.CreateKeyResponse = await wire.keys.CreateKey(request, metadata=key.metadata)
    return created


async def update(wire: Wire, name: str, key: NewKey = OPERATOR, **fields: Any) -> key_pb2.Key:
    """Change a key with another one."""
    etag = fields.pop("etag", "")
    request = key_pb2.UpdateKeyRequest(
        key=key_pb2.Key(name=name, etag=etag, **fields), update_mask=field_mask_pb2.FieldMask(paths=list(fields))
    )
    changed: key_pb2.Key = await wire.keys.UpdateKey(request, metadata=key.metadata)
    return changed


async def get(wire: Wire, name: str, key: NewKey = OPERATOR) -> key_pb2.Key:
    found: key_pb2.Key = await wire.keys.GetKey(key_pb2.GetKeyRequest(name=name), metadata=key.metadata)
    return found


async def listed(wire: Wire, key: NewKey = OPERATOR, **fields: Any) -> list[str]:
    """The names of all keys, read a page at a time."""
    names: list[str] = []
    while True:
        page = await wire.keys.ListKeys(key_pb2.ListKeysRequest(**fields), metadata=key.metadata)
        names += [each.name for each in page.keys]
        if not page.next_page_token:
            return names
        fields["page_token"] = page.next_page_token


async def who_am_i(wire: Wire, metadata: Metadata) -> Any:
    return await wire.keys.WhoAmI(key_pb2.WhoAmIRequest(), metadata=metadata)


def limits(**amounts: Any) -> key_pb2.Limits:
    return key_pb2.Limits(**amounts)


async def test_a_key_that_was_created_works_at_once_and_its_secret_is_shown_once(wire: Wire) -> None:
    """What is stored of the secret is its hash."""
    created = await create(wire, scopes=["chat", "models"], display_name="app", labels={"team": "web"})
    assert key_id_of(created.secret) == created.key.name.removeprefix("keys/")
    who = await who_am_i(wire, bearer(created.secret))
    assert (who.tenant, who.key, list(who.scopes)) == ("red", created.key.name, ["chat", "models"])
    found = await get(wire, created.key.name)
    assert found == created.key
    assert (found.state, found.display_name, found.labels["team"]) == (key_pb2.Key.STATE_ACTIVE, "app", "web")
    assert created.secret[-43:] not in str(found)
    assert hash_of(created.secret).hex() not in str(found)


async def test_a_revoked_key_is_refused_from_then_on(wire: Wire) -> None:
    """Also if it was just used, and for good. Revoking it again changes nothing."""
    created = await create(wire)
    await who_am_i(wire, bearer(created.secret))
    request = key_pb2.RevokeKeyRequest(name=created.key.name)
    revoked = await wire.keys.RevokeKey(request, metadata=OPERATOR.metadata)
    assert (revoked.state, revoked.HasField("revoke_time")) == (key_pb2.Key.STATE_REVOKED, True)
    with Refused() as refused:
        await who_am_i(wire, bearer(created.secret))
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "BAD_CREDENTIALS")
    assert await wire.keys.RevokeKey(request, metadata=OPERATOR.metadata) == revoked


async def test_a_change_binds_the_next_call(wire: Wire) -> None:
    """Fields that the mask names are set or cleared, others stay."""
    created = await create(wire, scopes=["chat", "models"], display_name="app")
    await who_am_i(wire, bearer(created.secret))
    changed = await update(wire, created.key.name, scopes=["models"], etag=created.key.etag)
    assert (list(changed.scopes), changed.display_name) == (["models"], "app")
    assert changed.etag != created.key.etag
    assert list((await who_am_i(wire, bearer(created.secret))).scopes) == ["models"]
    assert (await update(wire, created.key.name, display_name="")).display_name == ""
    with Refused() as refused:
        await update(wire, created.key.name, display_name="late", etag=created.key.etag)
    assert (refused.code, refused.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")


async def test_a_key_expires(wire: Wire) -> None:
    """When its time has come it is refused, and its state says why to its administrator."""
    later = timestamp_pb2.Timestamp(seconds=int(time.time()) + 3600)
    created = await create(wire, expire_time=later)
    await who_am_i(wire, bearer(created.secret))
    expired = await update(wire, created.key.name, expire_time=timestamp_pb2.Timestamp(seconds=int(time.time()) - 1))
    assert expired.state == key_pb2.Key.STATE_EXPIRED
    with Refused() as refused:
        await who_am_i(wire, bearer(created.secret))
    assert refused.reason == "BAD_CREDENTIALS"


async def test_keys_are_listed_by_pages_those_of_the_settings_first(wire: Wire) -> None:
    """The oldest first, revoked ones too; each once."""
    names = [(await create(wire)).key.name for _ in range(5)]
    await wire.keys.RevokeKey(key_pb2.RevokeKeyRequest(name=names[0]), metadata=OPERATOR.metadata)
    fixed = sorted(f"keys/{key.id}" for key in (OPERATOR, ADMIN))
    for size in (1, 2, 3, 50):
        assert await listed(wire, page_size=size) == [*fixed, *names]
    assert await listed(wire, BLUE) == [f"keys/{BLUE.id}"]
    assert await listed(wire, tenant="blue") == [f"keys/{BLUE.id}"]
    with Refused() as refused:
        await listed(wire, page_token="x")
    assert refused.violations.keys() == {"page_token"}


async def test_a_page_token_of_another_tenant_leads_nowhere(wire: Wire) -> None:
    """It is refused as any other text is."""
    request = key_pb2.ListKeysRequest(page_size=1)
    token = (await wire.keys.ListKeys(request, metadata=OPERATOR.metadata)).next_page_token
    with Refused() as foreign:
        await listed(wire, BLUE, page_token=token)
    with Refused() as garbage:
        await listed(wire, BLUE, page_token="x" * len(token))
    assert (foreign.details, foreign.trailers) == (garbage.details, garbage.trailers)


async def test_keys_of_the_settings_are_read_and_not_changed(wire: Wire) -> None:
    """Their settings are the place to change them."""
    found = await get(wire, f"keys/{ADMIN.id}")
    assert (found.from_settings, found.display_name, found.limits.tokens_per_day) == (True, "administration", 1000)
    with Refused() as refused:
        await update(wire, found.name, display_name="other")
    assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED")
    with Refused() as refused:
        await wire.keys.RevokeKey(key_pb2.RevokeKeyRequest(name=found.name), metadata=OPERATOR.metadata)
    assert refused.reason == "NOT_ALLOWED"


async def test_an_operator_names_tenants_and_others_do_not(wire: Wire) -> None:
    """To others a key of another tenant does not exist."""
    created = await create(wire, tenant="blue")
    assert (created.key.tenant, (await get(wire, created.key.name, BLUE)).name) == ("blue", created.key.name)
    assert (await get(wire, created.key.name)).tenant == "blue"
    mine = await create(wire)
    for attempt in (
        get(wire, mine.key.name, BLUE),
        get(wire, f"keys/{ADMIN.id}", BLUE),
        update(wire, mine.key.name, BLUE, display_name="x"),
    ):
        with Refused() as refused:
            await attempt
        assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "KEY_NOT_FOUND")
    for tenant in ("red", "nobodys"):
        with Refused() as refused:
            await create(wire, BLUE, scopes=["admin"], tenant=tenant)
        assert (refused.reason, "red" in refused.details) == ("NOT_ALLOWED", False)
        with Refused() as refused:
            await listed(wire, BLUE, tenant=tenant)
        assert refused.reason == "NOT_ALLOWED"


OWN: dict[str, Any] = {
    "scopes": ["chat"],
    "models": ["echo/*"],
    "limits": limits(tokens_per_day=1000, cost_nanos_per_month=2_500_000_000, currency="USD", requests_per_minute=10),
}
"""As much as the administrator itself has."""
BEYOND: dict[str, dict[str, Any]] = {
    "a scope": {"scopes": ["usage"]},
    "the scope operator": {"scopes": ["operator"]},
    "all models": {"models": ["*"]},
    "other models": {"models": ["echo/a", "other/*"]},
    "no limit": {"limits": limits()},
    "a higher limit": {
        "limits": limits(**{f.name: v for f, v in OWN["limits"].ListFields()} | {"tokens_per_day": 1001})
    },
    "another currency": {"limits": limits(**{f.name: v for f, v in OWN["limits"].ListFields()} | {"currency": "EUR"})},
    "a higher burst": {"limits": limits(**{f.name: v for f, v in OWN["limits"].ListFields()} | {"request_burst": 11})},
}


@pytest.mark.parametrize("what", BEYOND)
async def test_nobody_grants_more_than_they_have(wire: Wire, what: str) -> None:
    """Neither to a new key nor to an old one."""
    key = (await create(wire, ADMIN, **OWN)).key
    with Refused() as refused:
        await create(wire, ADMIN, **{**OWN, **BEYOND[what]})
    assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED")
    with Refused() as refused:
        await update(wire, key.name, ADMIN, **BEYOND[what])
    assert refused.reason == "NOT_ALLOWED"
    assert await get(wire, key.name) == key


async def test_less_than_one_has_can_be_granted(wire: Wire) -> None:
    """No models stand for all that the creator may use."""
    fewer = {f.name: v for f, v in OWN["limits"].ListFields()} | {"tokens_per_day": 10}
    created = await create(wire, ADMIN, scopes=["models"], models=["echo/echo"], limits=limits(**fewer))
    assert created.key.limits.tokens_per_day == 10
    inherited = await create(wire, ADMIN, **{**OWN, "models": []})
    assert list(inherited.key.models) == ["echo/*"]
    assert list((await update(wire, inherited.key.name, ADMIN, models=[])).models) == ["echo/*"]


async def test_no_key_grants_what_outlives_it(serve: Serve, tmp_path: Path) -> None:
    """Neither to itself nor to another; keys without an end do as they like."""
    hour = timestamp_pb2.Timestamp(seconds=int(time.time()) + 3600)
    year = timestamp_pb2.Timestamp(seconds=hour.seconds + 365 * 86_400)
    wire = await serve(config_with(OPERATOR, stored_keys=True), providers={"echo": EchoProvider()})
    made = await create(wire, scopes=["admin", "chat"], expire_time=hour)
    visitor = NewKey(made.key.name, made.secret, OPERATOR.table)
    for expire_time in (None, year):
        fields: dict[str, Any] = {"expire_time": expire_time}
        with Refused() as refused:
            await create(wire, visitor, **fields)
        assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED")
        with Refused() as refused:
            await update(wire, made.key.name, visitor, **fields)
        assert "expires" in refused.details
    await create(wire, visitor, expire_time=hour)
    await update(wire, made.key.name, expire_time=year)


async def test_an_administrator_cannot_change_a_more_powerful_key(wire: Wire) -> None:
    """It can be revoked: that grants nothing."""
    key = (await create(wire, scopes=["usage"])).key
    with Refused() as refused:
        await update(wire, key.name, ADMIN, display_name="mine")
    assert refused.reason == "NOT_ALLOWED"
    revoked = await wire.keys.RevokeKey(key_pb2.RevokeKeyRequest(name=key.name), metadata=ADMIN.metadata)
    assert revoked.state == key_pb2.Key.STATE_REVOKED


async def test_who_am_i_tells_what_is_left_of_limits(wire: Wire) -> None:
    """Of the key's own, with what it has used."""
    states = {state.limit: state for state in (await who_am_i(wire, ADMIN.metadata)).limits}
    assert (states["tokens_per_day"].allowed, states["tokens_per_day"].subject) == (1000, f"keys/{ADMIN.id}")


INVALID: dict[str, dict[str, Any]] = {
    "key.scopes": {"scopes": []},
    "key.scopes[0]": {"scopes": ["everything"]},
    "key.models[0]": {"models": ["a b"]},
    "key.models": {"models": ["x"] * 65},
    "key.display_name": {"display_name": "x" * 129},
    "key.tenant": {"tenant": "a/b"},
    "key.labels['A']": {"labels": {"A": "x"}},
    "key.expire_time": {"expire_time": timestamp_pb2.Timestamp(seconds=1)},
    "key.limits.requests_per_minute": {"limits": limits(requests_per_minute=0)},
    "key.limits.tokens_per_day": {"limits": limits(tokens_per_day=-1)},
    "key.limits.tokens_per_window": {"limits": limits(tokens_per_window=1)},
    "key.limits.request_burst": {"limits": limits(request_burst=1)},
    "key.limits.cost_nanos_per_day": {"limits": limits(cost_nanos_per_day=1)},
    "key.limits.window": {"limits": limits(window=duration_pb2.Duration(seconds=3601))},
    "key.limits.currency": {"limits": limits(currency="usd")},
}


@pytest.mark.parametrize("field", INVALID)
async def test_every_bad_field_is_named(serve: Serve, tmp_path: Path, field: str) -> None:
    """With its path in the contract."""
    config = config_with(OPERATOR, stored_keys=True)
    wire = await serve(config, providers={"echo": EchoProvider()})
    with Refused() as refused:
        await create(wire, **INVALID[field])
    assert refused.violations.keys() == {field}


async def test_names_and_masks_are_checked(wire: Wire) -> None:
    """Before anything is read."""
    with Refused() as refused:
        await get(wire, "keys/UPPER")
    assert refused.violations.keys() == {"name"}
    with Refused() as refused:
        await update(wire, "keys/000000000000")
    assert refused.violations.keys() == {"update_mask"}
    with Refused() as refused:
        await update(wire, "keys/000000000000", tenant="blue")
    assert refused.violations.keys() == {"update_mask"}


async def test_a_server_without_stored_keys_creates_none(serve: Serve) -> None:
    """Nor does one without any authentication, where a key would be of no use."""
    for config in (config_with(OPERATOR), config_with()):
        wire = await serve(config, providers={"echo": EchoProvider()})
        with Refused() as refused:
            await create(wire)
        assert (refused.code, "auth.stored_keys" in refused.details) == (grpc.StatusCode.UNIMPLEMENTED, True)
    assert (await wire.keys.WhoAmI(key_pb2.WhoAmIRequest())).scopes == list(SCOPES)
