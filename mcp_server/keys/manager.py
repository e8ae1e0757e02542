"""The use cases of API keys: create, read, list, change and revoke."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence

import msgspec

from mcp_server import rules
from mcp_server.errors import EtagMismatch, KeyNotFound, NotAllowed, NotSupported, Violation
from mcp_server.interfaces import AccountStore
from mcp_server.principal import Principal
from mcp_server.values import Clock, Key, KeyDraft, KeyUpdate
from mcp_server.values.key_secret import hash_of, new_key_id, new_secret

replace = msgspec.structs.replace


class KeyManager:
    """The API keys of the settings, which can only be read here, and those of the store.

    Args:
        store: contains the keys that calls create; ``None``: calls can create none.
        settings_keys: the present keys of the settings, by id.
        clock: the time, in nanoseconds since the Unix epoch.
        changed: called with the id of each key that has changed.
    """

    def __init__(
        self,
        *,
        store: AccountStore | None,
        settings_keys: Callable[[], Mapping[str, Key]],
        clock: Clock,
        changed: Callable[[str], None],
    ) -> None:
        self._store = store
        self._settings_keys = settings_keys
        self._clock = clock
        self._changed = changed

    def now(self) -> int:
        """The time by which keys expire."""
        return self._clock()

    async def create(
        self, principal: Principal, tenant: str, draft: KeyDraft, *, violations: Sequence[Violation] = ()
    ) -> tuple[Key, str]:
        """Create a key in ``tenant``, empty for the caller's own; return it and its secret.

        Raises:
            NotAllowed: it would permit more than the caller may do, or the tenant is not the caller's.
            NotSupported: this server stores no keys.
        """
        found = rules.Violations()
        rules.tenant_name(found, "key.tenant", tenant)
        rules.key_draft(found, draft)
        now = self._clock()
        if draft.expire_time is not None and 0 < draft.expire_time <= now:
            found.add("key.expire_time", "must be in the future")
        rules.refuse(violations, found)
        store = self._writable()
        key_id = new_key_id()
        secret = new_secret(key_id)
        key = Key(
            id=key_id,
            tenant=_tenant(principal, tenant),
            secret_hash=hash_of(secret),
            create_time=now,
            update_time=now,
            etag=_new_etag(),
            **{name: getattr(draft, name) for name in rules.KEY_FIELDS},
        )
        if not key.models and principal.models is not None:
            key = replace(key, models=principal.models)
        rules.check_grant(principal, key)
        await store.change_key(key_id, lambda _: key)
        return key, secret

    async def get(self, principal: Principal, key_id: str, *, violations: Sequence[Violation] = ()) -> Key:
        """A key of the caller's tenant; operators see those of all tenants.

        Raises:
            KeyNotFound: there is none, or it is another tenant's.
        """
        rules.refuse(violations)
        own = self._from_settings(principal, key_id)
        if own is not None:
            return own
        return _visible(principal, key_id, await self._store.key(key_id) if self._store is not None else None)

    async def list(
        self,
        principal: Principal,
        tenant: str,
        *,
        limit: int,
        after: tuple[int, str] | None = None,
        violations: Sequence[Violation] = (),
    ) -> Sequence[Key]:
        """Up to ``limit`` keys of a tenant, empty for the caller's own: those of the settings, then those of the store,
        the oldest first, after the ``(create_time, id)`` of ``after``.

        Raises:
            NotAllowed: the tenant is not the caller's.
        """
        found = rules.Violations()
        rules.tenant_name(found, "tenant", tenant)
        rules.refuse(violations, found)
        tenant = _tenant(principal, tenant)
        listed = sorted(
            [
                key
                for key in self._settings_keys().values()
                if key.tenant == tenant and (after or (0, "")) < _place(key)
            ],
            key=_place,
        )[:limit]
        if self._store is not None and len(listed) < limit:
            listed += await self._store.keys(tenant, limit - len(listed), after)
        return listed

    async def update(
        self, principal: Principal, key_id: str, update: KeyUpdate, *, violations: Sequence[Violation] = ()
    ) -> Key:
        """Change a key of the store.

        Raises:
            KeyNotFound: there is none, or it is another tenant's.
            NotAllowed: it stands in the settings, or would permit more than the caller may do.
            EtagMismatch: it has changed since the caller read it.
        """
        found = rules.Violations()
        rules.key_update(found, update)
        rules.refuse(violations, found)
        now, etag = self._clock(), _new_etag()
        fields = dict(update.fields)
        if principal.models is not None and fields.get("models") == ():
            fields["models"] = principal.models

        def decide(key: Key) -> Key:
            if update.etag and update.etag != key.etag:
                raise EtagMismatch(f"the key {key.name} has changed: read it again and decide again")
            changed = replace(key, update_time=now, etag=etag, **fields)
            rules.check_grant(principal, changed, former=key)
            return changed

        return await self._change(principal, key_id, decide)

    async def revoke(self, principal: Principal, key_id: str, *, violations: Sequence[Violation] = ()) -> Key:
        """Revoke a key of the store for good; one that was revoked before stays as it is.

        Raises:
            KeyNotFound: there is none, or it is another tenant's.
            NotAllowed: it stands in the settings, or is an operator's.
        """
        rules.refuse(violations)
        now, etag = self._clock(), _new_etag()

        def decide(key: Key) -> Key:
            if key.revoke_time is not None:
                return key
            return replace(key, revoke_time=now, update_time=now, etag=etag)

        return await self._change(principal, key_id, decide)

    async def _change(self, principal: Principal, key_id: str, decide: Callable[[Key], Key]) -> Key:
        if self._from_settings(principal, key_id) is not None:
            raise NotAllowed(f"the key keys/{key_id} stands in the settings of the server: change it there")
        if self._store is None:
            raise _not_found(key_id)

        def decide_stored(stored: Key | None) -> Key:
            key = _visible(principal, key_id, stored)
            if "operator" in key.scopes and not principal.allows("operator"):
                raise NotAllowed(f"the key {key.name} has the scope operator: only an operator can change it")
            return decide(key)

        changed = await self._store.change_key(key_id, decide_stored)
        self._changed(key_id)
        return changed

    def _from_settings(self, principal: Principal, key_id: str) -> Key | None:
        key = self._settings_keys().get(key_id)
        return key if key is not None and _sees(principal, key.tenant) else None

    def _writable(self) -> AccountStore:
        if self._store is None:
            raise NotSupported(
                "this server stores no API keys: set auth.stored_keys = true, or add the key to the settings",
                metadata={"method": "contextprotocol.v1.KeyService.CreateKey"},
            )
        return self._store


def _sees(principal: Principal, tenant: str) -> bool:
    return tenant == principal.tenant or principal.allows("operator")


def _visible(principal: Principal, key_id: str, key: Key | None) -> Key:
    """The key, if the caller may know of it. An unknown one and one of another tenant take the same path.

    Raises:
        KeyNotFound: the caller may not.
    """
    if key is None or not _sees(principal, key.tenant):
        raise _not_found(key_id)
    return key


def _not_found(key_id: str) -> KeyNotFound:
    return KeyNotFound(f"key keys/{key_id} not found", metadata={"key": f"keys/{key_id}"})


def _tenant(principal: Principal, tenant: str) -> str:
    """The tenant that a caller names, empty for its own.

    Raises:
        NotAllowed: it is another one, and the caller is no operator.
    """
    if tenant and not _sees(principal, tenant):
        raise NotAllowed("only the scope operator permits to name another tenant")
    return tenant or principal.tenant


def _place(key: Key) -> tuple[int, str]:
    return key.create_time, key.id


def _new_etag() -> str:
    return secrets.token_hex(8)
