"""ModelService."""

from __future__ import annotations

from contextprotocol.v1 import model_pb2
from mcp_server.api import encode
from mcp_server.api.checks import Checks
from mcp_server.api.paging import page_token, position_of
from mcp_server.errors import ModelNotFound
from mcp_server.gateway import Gateway
from mcp_server.interfaces import Call
from mcp_server.models.catalogue import Catalogue
from mcp_server.models.inventory import find_route
from mcp_server.models.target import Target


class ModelService:
    """Says what this server can answer with."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def ListModels(self, call: Call, request: model_pb2.ListModelsRequest) -> model_pb2.ListModelsResponse:
        with Checks() as checks:
            size = checks.page_size(request.page_size, 100)
            after = position_of(checks, request.page_token, str, "models")
        catalogue = await self._gateway.router.catalogue()
        names = sorted(name for name in catalogue.targets if after is None or name > after)
        response = model_pb2.ListModelsResponse(
            models=[self._model(catalogue, catalogue.targets[name]) for name in names[:size]]
        )
        if len(names) > size:
            response.next_page_token = page_token(names[size - 1], "models")
        return response

    async def GetModel(self, call: Call, request: model_pb2.GetModelRequest) -> model_pb2.Model:
        with Checks() as checks:
            prefix, _, name = request.name.partition("/")
            if prefix != "models" or not name:
                checks.fail("name", "it must be models/MODEL: an alias, or provider/model")
        catalogue = await self._gateway.router.catalogue()
        route, catalogue = find_route(catalogue, name)
        return self._model(catalogue, route.targets[0])

    def _model(self, catalogue: Catalogue, target: Target) -> model_pb2.Model:
        aliases = [alias for alias, name in catalogue.aliases.items() if name == target.name]
        try:
            route, _ = find_route(catalogue, self._gateway.default_model)
            is_default = route.targets[0].name == target.name
        except ModelNotFound:
            is_default = False
        return encode.model(target, aliases, is_default=is_default)
