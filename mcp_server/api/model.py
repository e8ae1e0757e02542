"""``contextprotocol.v1.ModelService``: lists models, and counts tokens."""

from __future__ import annotations

from contextprotocol.v1 import model_pb2
from mcp_server.api import decode, encode
from mcp_server.api.conversions import LARGE_BYTES, Conversions
from mcp_server.api.paging import PageTokens, page_of, page_size
from mcp_server.gateway import Gateway
from mcp_server.interfaces import Call
from mcp_server.rules import Violations


class ModelService:
    """Lists the models that this server can answer with, and counts the tokens of prompts."""

    def __init__(self, gateway: Gateway, tokens: PageTokens, conversions: Conversions) -> None:
        self._gateway = gateway
        self._conversions = conversions
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

    async def CountTokens(self, call: Call, request: model_pb2.CountTokensRequest) -> model_pb2.CountTokensResponse:
        found = Violations()
        chat = await self._conversions.run(request.ByteSize() > LARGE_BYTES, decode.count_input, found, request)
        del request  # it may be large, and the provider may take long
        count = await self._gateway.count_tokens(
            call.principal,
            session=chat.options.session,
            messages=chat.messages,
            model=chat.options.model,
            tools=chat.tools,
            violations=found,
        )
        return model_pb2.CountTokensResponse(input_tokens=count.tokens, exact=count.exact, model=count.model)
