"""Authenticates calls by API keys."""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from mcp_server.errors import BadCredentials
from mcp_server.interfaces import AccountStore, Call
from mcp_server.principal import Principal
from mcp_server.values import Clock, Key
from mcp_server.values.key_secret import hash_of, key_id_of

CACHE_SECONDS: Final = 0.5
"""How long a stored key is used without being read again. A key that another process revokes is refused after it."""
CACHE_SIZE: Final = 10_000
"""How many stored keys are kept for that time, ids without a key included."""
_NOT_VALID: Final = "the API key is not valid"
_NO_HASH: Final = bytes(32)


class _Entry(NamedTuple):
    key: Key | None
    principal: Principal | None
    read_at: float


class KeyAuthenticator:
    """An :class:`~mcp_server.interfaces.Authenticator` of ``authorization: Bearer ctx_…``.

    It claims every bearer token without a dot: those with dots are JSON Web Tokens.

    Args:
        settings_keys: the keys that stand in the settings, by id. They precede stored ones.
        store: contains further keys; ``None``: there are none.
        clock: the time, in nanoseconds since the Unix epoch.
        monotonic: the time since any moment, in seconds.
    """

    def __init__(
        self,
        settings_keys: Mapping[str, Key],
        store: AccountStore | None,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._clock = clock
        self._monotonic = monotonic
        self._cached: OrderedDict[str, _Entry] = OrderedDict()
        self._changes = 0
        self.settings_keys: Mapping[str, Key] = {}
        self.replace_settings(settings_keys)

    def replace_settings(self, keys: Mapping[str, Key]) -> None:
        """Use these keys of the settings from now on."""
        self.settings_keys = dict(keys)
        self._fixed = {key_id: _Entry(key, _principal(key), 0.0) for key_id, key in keys.items()}

    def forget(self, key_id: str) -> None:
        """Read the stored key with that id again at its next use: it has changed."""
        self._changes += 1
        self._cached.pop(key_id, None)

    async def authenticate(self, call: Call, /) -> Principal | None:
        """The principal of the API key; ``None``: the call has none.

        Raises:
            BadCredentials: it is malformed, unknown, revoked or expired; the message does not say which.
        """
        scheme, _, token = call.metadata.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or "." in token:
            return None
        key_id = key_id_of(token)
        if key_id is None:
            raise BadCredentials(_NOT_VALID)
        entry = self._fixed.get(key_id) or self._recent(key_id) or await self._read(key_id)
        key = entry.key
        # An unknown id takes as long as a wrong secret.
        right = hmac.compare_digest(hash_of(token), key.secret_hash if key is not None else _NO_HASH)
        if not right or key is None or key.revoke_time is not None:
            raise BadCredentials(_NOT_VALID)
        if key.expire_time is not None and key.expire_time <= self._clock():
            raise BadCredentials(_NOT_VALID)
        return entry.principal

    def _recent(self, key_id: str) -> _Entry | None:
        entry = self._cached.get(key_id)
        return entry if entry is not None and self._monotonic() - entry.read_at < CACHE_SECONDS else None

    async def _read(self, key_id: str) -> _Entry:
        if self._store is None:
            return _Entry(None, None, 0.0)
        changes, read_at = self._changes, self._monotonic()
        key = await self._store.key(key_id)
        entry = _Entry(key, _principal(key) if key is not None else None, read_at)
        if changes == self._changes:  # a change during the read may not be part of its result
            self._cached[key_id] = entry
            self._cached.move_to_end(key_id)
            if len(self._cached) > CACHE_SIZE:
                self._cached.popitem(last=False)
        return entry


def _principal(key: Key) -> Principal:
    return Principal(
        tenant=key.tenant,
        key=key.id,
        scopes=frozenset(key.scopes),
        models=key.models or None,
        limits=key.limits,
        expire_time=key.expire_time,
        # With the secret, since the settings may replace it: streams with the old one must not live by the new one.
        credential=f"key:{key.id}:{key.secret_hash[:8].hex()}",
    )
