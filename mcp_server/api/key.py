"""``contextprotocol.v1.KeyService``: manages API keys, and tells callers who they are."""

from __future__ import annotations

from contextprotocol.v1 import key_pb2
from mcp_server.api import decode, encode
from mcp_server.api.paging import PageTokens, page_of, page_size
from mcp_server.gateway import Gateway
from mcp_server.interfaces import Call
from mcp_server.rules import Violations
from mcp_server.values import SCOPES


class KeyService:
    """Manages API keys."""

    def __init__(self, gateway: Gateway, tokens: PageTokens) -> None:
        self._tokens = tokens
        self._accounts = gateway.accounts
        self._keys = gateway.keys

    async def CreateKey(self, call: Call, request: key_pb2.CreateKeyRequest) -> key_pb2.CreateKeyResponse:
        found = Violations()
        draft = decode.key_draft(found, request.key)
        key, secret = await self._keys.create(call.principal, request.key.tenant, draft, violations=found)
        return key_pb2.CreateKeyResponse(key=encode.key(key, self._keys.now()), secret=secret)

    async def GetKey(self, call: Call, request: key_pb2.GetKeyRequest) -> key_pb2.Key:
        found = Violations()
        key_id = decode.key_name(found, "name", request.name)
        key = await self._keys.get(call.principal, key_id, violations=found)
        return encode.key(key, self._keys.now())

    async def ListKeys(self, call: Call, request: key_pb2.ListKeysRequest) -> key_pb2.ListKeysResponse:
        found = Violations()
        query = ("keys", call.principal.tenant, request.tenant)
        size = page_size(found, request.page_size, 50)
        after = self._tokens.position(found, request.page_token, tuple[int, str], *query)
        keys = await self._keys.list(call.principal, request.tenant, limit=size + 1, after=after, violations=found)
        now = self._keys.now()
        page = await page_of((encode.key(key, now) for key in keys), size)
        response = key_pb2.ListKeysResponse(keys=page)
        if len(page) < len(keys):
            last = keys[len(page) - 1]
            response.next_page_token = self._tokens.token((last.create_time, last.id), *query)
        return response

    async def UpdateKey(self, call: Call, request: key_pb2.UpdateKeyRequest) -> key_pb2.Key:
        found = Violations()
        key_id = decode.key_name(found, "key.name", request.key.name)
        update = decode.key_update(found, request)
        key = await self._keys.update(call.principal, key_id, update, violations=found)
        return encode.key(key, self._keys.now())

    async def RevokeKey(self, call: Call, request: key_pb2.RevokeKeyRequest) -> key_pb2.Key:
        found = Violations()
        key_id = decode.key_name(found, "name", request.name)
        key = await self._keys.revoke(call.principal, key_id, violations=found)
        return encode.key(key, self._keys.now())

    async def WhoAmI(self, call: Call, request: key_pb2.WhoAmIRequest) -> key_pb2.WhoAmIResponse:
        principal = call.principal
        return key_pb2.WhoAmIResponse(
            tenant=principal.tenant,
            key=f"keys/{principal.key}" if principal.key else "",
            scopes=[scope for scope in SCOPES if principal.allows(scope)],
            models=principal.models or (),
            limits=map(encode.limit_state, await self._accounts.states(principal)),
        )
