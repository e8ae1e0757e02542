"""``contextprotocol.v1.ModelService``: lists models."""

from __future__ import annotations

from contextprotocol.v1 import model_pb2
from mcp_server.api import decode, encode
from mcp_server.api.paging import PageTokens, page_of, page_size
from mcp_server.gateway import Gateway
from mcp_server.interfaces import Call
from mcp_server.rules import Violations


class ModelService:
    """Lists the models that this server can answer with."""

    def __init__(self, gateway: Gateway, tokens: PageTokens) -> None:
        self._gateway = gateway
        self._tokens = tokens

    async def ListModels(self, call: Call, request: model_pb2.ListModelsRequest) -> model_pb2.ListModelsResponse:
        found = Violations()
        size = page_size(found, request.page_size, 100)
        after = self._tokens.position(found, request.page_token, str, "models") or ""
        entries = await self._gateway.list_models(call.principal, limit=size + 1, after=after, violations=found)
        page = await page_of(map(encode.model, entries), size)
        token = self._tokens.token(entries[len(page) - 1].name, "models") if len(page) < len(entries) else ""
        return model_pb2.ListModelsResponse(models=page, next_page_token=token)

    async def GetModel(self, call: Call, request: model_pb2.GetModelRequest) -> model_pb2.Model:
        found = Violations()
        name = decode.model_name(found, "name", request.name)
        return encode.model(await self._gateway.get_model(call.principal, name, violations=found))
