# Generated from mcp_client/_aio/models.py by scripts/generate: edit that file.

"""The client's methods for models, embeddings and token counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from contextprotocol.v1 import embedding_pb2, model_pb2
from mcp_client._core.requests import models as requests
from mcp_client._core.requests.messages import Input
from mcp_client._core.responses import models as responses
from mcp_client._sync.calls import SyncCalls
from mcp_client._sync.listing import SyncListing
from mcp_client.errors import MCPError
from mcp_client.tools.tool import Tool
from mcp_client.values import EmbeddingProgress, Embeddings, Model, Seconds, Session, TokenCount


class ModelMethods:
    """List models, create embeddings, and count tokens."""

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
        on_progress: Callable[[EmbeddingProgress], None] | None = None,
        timeout: Seconds | None = None,
    ) -> Embeddings:
        """Create the embeddings of texts, in their order.

        More texts than the model accepts in one call are sent in several batches, one after another, all to the same
        model. If one batch fails, the call fails, and ``partial`` of the error has the vectors of those before.

        Args:
            inputs: one text or any number of texts.
            model: an alias or ``provider/model``; empty: the session's model, then the server's.
            session: provides the model; the call extends its ttl.
            dimensions: the length of the vectors, for models that can shorten them.
            provider_options: passed to the provider unchanged.
            labels: for whom or what the call is made; its usage carries them.
            on_progress: called after each batch, with its vectors.
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
        total, done = len(request.inputs), 0
        received: list[embedding_pb2.EmbedResponse] = []
        try:
            for response in self._calls.embed(request, timeout):
                received.append(response)
                done += len(response.embeddings)
                if on_progress is not None:
                    on_progress(EmbeddingProgress(done=done, total=total, batch=responses.embeddings([response])))
        except MCPError as error:
            error.partial = responses.embeddings(received) if received else None
            raise
        return responses.embeddings(received)

    def count_tokens(
        self,
        messages: Input = (),
        *,
        session: str | Session | None = None,
        model: str = "",
        tools: Sequence[Tool] = (),
        timeout: Seconds | None = None,
    ) -> TokenCount:
        """Count the tokens of the prompt that :meth:`chat` would send with the same arguments, without sending it.

        Args:
            messages: the new messages; without a session, the whole conversation. In a session they may be empty.
            session: its instruction, context and history are counted too; the call does not extend its ttl.
            model: an alias or ``provider/model``; empty: the session's model, then the server's.
            tools: the tools that the model may call.
            timeout: the timeout of the call in seconds.

        Raises:
            SessionNotFound, ModelNotFound, UnsupportedByModel, ToolResultsMissing …
        """
        request = requests.count_tokens(messages, session=session, model=model, tools=tools)
        return responses.token_count(self._calls.unary("ModelService.CountTokens", request, timeout))

    def list_models(self, *, timeout: Seconds | None = None) -> Sequence[Model]:
        """List the models that the server offers, by name."""
        request = model_pb2.ListModelsRequest()
        models = SyncListing(
            self._calls,
            "ModelService.ListModels",
            request,
            lambda page: [responses.model(model) for model in page.models],
            page_token="",
            timeout=timeout,
        )
        return list(models)

    def get_model(self, model: str, *, timeout: Seconds | None = None) -> Model:
        """Get a model by an alias or ``provider/model``.

        Raises:
            ModelNotFound: the model does not exist.
        """
        return responses.model(self._calls.unary("ModelService.GetModel", requests.get_model(model), timeout))
