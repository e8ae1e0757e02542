# Generated from mcp_client/_aio/models.py by scripts/generate: edit that file.

"""The client's methods for models and embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from contextprotocol.v1 import model_pb2
from mcp_client._core.requests import models as requests
from mcp_client._core.responses import models as responses
from mcp_client._sync.calls import SyncCalls
from mcp_client.values import Embeddings, Model, Seconds, Session


class ModelMethods:
    """List models, and create embeddings."""

    _calls: SyncCalls

    def embed(
        self,
        inputs: str | Sequence[str],
        *,
        model: str = "",
        session: str | Session | None = None,
        dimensions: int | None = None,
        provider_options: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        timeout: Seconds | None = None,
    ) -> Embeddings:
        """Create the embeddings of texts, in their order.

        More texts than the model accepts in one call are sent in several batches, one after another, all to the same
        model. If one batch fails, the call fails.

        Args:
            inputs: one text or any number of texts.
            model: an alias or ``provider/model``; empty: the session's model, then the server's.
            session: provides the model; the call extends its ttl.
            dimensions: the length of the vectors, for models that can shorten them.
            provider_options: passed to the provider unchanged.
            labels: for whom or what the call is made; its usage carries them.
            timeout: the timeout of the call in seconds, all batches together.
        """
        request = requests.embed(
            inputs,
            model=model,
            session=session,
            dimensions=dimensions,
            provider_options=provider_options or {},
            labels=labels or {},
        )
        return responses.embeddings(self._calls.embed(request, timeout))

    def list_models(self, *, timeout: Seconds | None = None) -> Sequence[Model]:
        """List the models that the server offers, by name."""
        request = model_pb2.ListModelsRequest()
        models: list[Model] = []
        for page in self._calls.pages("ModelService.ListModels", request, timeout):
            models += [responses.model(model) for model in page.models]
        return models

    def get_model(self, model: str, *, timeout: Seconds | None = None) -> Model:
        """Get a model by an alias or ``provider/model``.

        Raises:
            ModelNotFound: the model does not exist.
        """
        return responses.model(self._calls.unary("ModelService.GetModel", requests.get_model(model), timeout))
