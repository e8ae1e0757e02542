# Generated from mcp_client/_aio/access.py by scripts/generate: edit that file.

"""The client's methods for API keys, limits and usage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from contextprotocol.v1 import key_pb2
from mcp_client._core.arguments import UNSET, Unset
from mcp_client._core.requests import access as requests
from mcp_client._core.requests.names import key_name
from mcp_client._core.responses import access as responses
from mcp_client._sync.calls import SyncCalls
from mcp_client._sync.listing import SyncListing
from mcp_client.values import Caller, CreatedKey, Key, Limits, Seconds, Session, UsageRow


class AccessMethods:
    """Manage API keys, and read limits and usage."""

    _calls: SyncCalls

    def whoami(self, *, timeout: Seconds | None = None) -> Caller:
        """Get who the caller is, what the caller may do, and what is left of the limits."""
        return responses.caller(self._calls.unary("KeyService.WhoAmI", key_pb2.WhoAmIRequest(), timeout))

    def create_key(
        self,
        *,
        scopes: Sequence[str],
        display_name: str = "",
        tenant: str = "",
        models: Sequence[str] = (),
        limits: Limits | None = None,
        labels: Mapping[str, str] | None = None,
        expire_time: datetime | None = None,
        timeout: Seconds | None = None,
    ) -> CreatedKey:
        """Create an API key. Its secret is part of this result alone: it cannot be read again.

        The call is not retried if its outcome is unknown, for example because the connection was lost.

        Args:
            scopes: what the key may do, at least one: ``chat``, ``sessions.read``, ``sessions.write``, ``models``,
                ``usage``, ``admin``.
            display_name: a name for people.
            tenant: the tenant that the key belongs to; empty: the caller's own.
            models: the models that the key may use, as patterns of ``provider/model`` with ``*`` for any text; empty:
                all that the caller may use.
            limits: apply beside those of the tenant.
            labels: of the key.
            expire_time: with a time zone; ``None``: never.
            timeout: the timeout of the call, in seconds.

        Raises:
            NotAllowed: the caller lacks the scope ``admin``, or would grant more than the caller's own.
            NotSupported: the server stores no keys.
        """
        request = requests.create_key(
            scopes=scopes,
            display_name=display_name,
            tenant=tenant,
            models=models,
            limits=limits,
            labels=labels or {},
            expire_time=expire_time,
        )
        return responses.created_key(self._calls.unary("KeyService.CreateKey", request, timeout))

    def get_key(self, key: str | Key, *, timeout: Seconds | None = None) -> Key:
        """Get an API key.

        Raises:
            KeyNotFound: the key does not exist, or belongs to another tenant.
        """
        request = key_pb2.GetKeyRequest(name=key_name(key))
        return responses.key(self._calls.unary("KeyService.GetKey", request, timeout))

    def list_keys(
        self, *, tenant: str = "", page_size: int = 0, page_token: str = "", timeout: Seconds | None = None
    ) -> SyncListing[Key]:
        """List the API keys of a tenant, revoked and expired ones included, the oldest first.

        Pages are fetched while the list is read, from ``page_token`` on; ``timeout`` applies to each page.

        Args:
            tenant: empty: the caller's own.
            page_size: how many keys a page has; 0: the server's default.
            timeout: the timeout of each call, in seconds.

        Raises:
            NotAllowed: the caller lacks the scope ``admin``, or ``operator`` for another tenant.
        """
        request = requests.list_keys(tenant=tenant, page_size=page_size)
        return SyncListing(
            self._calls,
            "KeyService.ListKeys",
            request,
            lambda page: [responses.key(key) for key in page.keys],
            page_token=page_token,
            timeout=timeout,
        )

    def update_key(
        self,
        key: str | Key,
        *,
        display_name: str | Unset = UNSET,
        scopes: Sequence[str] | Unset = UNSET,
        models: Sequence[str] | Unset = UNSET,
        limits: Limits | Unset | None = UNSET,
        labels: Mapping[str, str] | Unset = UNSET,
        expire_time: datetime | Unset | None = UNSET,
        etag: str = "",
        timeout: Seconds | None = None,
    ) -> Key:
        """Update the fields that are given, atomically. Calls that begin afterwards are bound by the new values.

        Args:
            key: the key to update.
            display_name: replaces the name for people.
            scopes: replaces the scopes.
            models: replaces the patterns of models; empty: all.
            limits: replaces all limits; ``None``: none of its own.
            labels: replaces all labels.
            expire_time: replaces the time of expiry; ``None``: never.
            etag: if given, the update fails unless the key still has this etag.
            timeout: the timeout of the call, in seconds.

        Raises:
            KeyNotFound: the key does not exist, or belongs to another tenant.
            NotAllowed: the caller would grant more than the caller's own, or the settings of the server define the key.
            EtagMismatch: the key has changed.
        """
        request = requests.update_key(
            key,
            display_name=display_name,
            scopes=scopes,
            models=models,
            limits=limits,
            labels=labels,
            expire_time=expire_time,
            etag=etag,
        )
        return responses.key(self._calls.unary("KeyService.UpdateKey", request, timeout))

    def revoke_key(self, key: str | Key, *, timeout: Seconds | None = None) -> Key:
        """Revoke an API key for good: calls with it are refused within a second, and running streams end.

        Raises:
            KeyNotFound: the key does not exist, or belongs to another tenant.
            NotAllowed: the settings of the server define the key, or it has more rights than the caller.
        """
        request = key_pb2.RevokeKeyRequest(name=key_name(key))
        return responses.key(self._calls.unary("KeyService.RevokeKey", request, timeout))

    def query_usage(
        self,
        *,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        group_by: str | Sequence[str] = (),
        tenant: str = "",
        key: str | Key | None = None,
        provider: str = "",
        model: str = "",
        session: str | Session | None = None,
        labels: Mapping[str, str] | None = None,
        page_size: int = 0,
        page_token: str = "",
        timeout: Seconds | None = None,
    ) -> SyncListing[UsageRow]:
        """Sum up what was used in a period, ordered by group. Rows of different currencies are always distinguished.

        Pages are fetched while the list is read, from ``page_token`` on; ``timeout`` applies to each page.

        Args:
            start_time: the beginning, with a time zone, rounded down to a full hour; ``None``: the first recorded
                hour.
            end_time: the end, which is not part of the period, rounded up to a full hour; ``None``: no end.
            group_by: what to distinguish: ``tenant``, ``key``, ``provider``, ``model``, ``session``, ``hour``, ``day``
                (UTC), and ``label:NAME`` for a label.
            tenant: whose usage; empty: the caller's own; ``*``: of all tenants.
            key: only the usage of this API key.
            provider: only that of this provider, by its configured name.
            model: only that of this model, by the provider's own name.
            session: only that of this session.
            labels: only that of calls with all these labels.
            page_size: how many rows a page has; 0: the server's default.
            timeout: the timeout of each call, in seconds.

        Raises:
            NotAllowed: the caller lacks the scope ``usage``, or ``operator`` for another tenant.
            NotSupported: the store of the server keeps no usage.
        """
        request = requests.query_usage(
            start_time=start_time,
            end_time=end_time,
            group_by=group_by,
            tenant=tenant,
            key=key,
            provider=provider,
            model=model,
            session=session,
            labels=labels or {},
            page_size=page_size,
        )
        return SyncListing(
            self._calls,
            "UsageService.QueryUsage",
            request,
            lambda page: [responses.usage_row(row) for row in page.rows],
            page_token=page_token,
            timeout=timeout,
        )
