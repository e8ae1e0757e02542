"""A chat model for LangChain.

::

    from mcp_client.integrations.langchain import ChatContextProtocol

    model = ChatContextProtocol(address="127.0.0.1:50051")
    print(model.invoke("Hello!").content)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from operator import itemgetter
from typing import Any, Final, Literal, Self

from langchain_core import exceptions
from langchain_core.caches import BaseCache
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, Generation
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import BaseModel, ConfigDict, Field, model_validator

from mcp_client import (
    AccessError,
    BadCredentials,
    ContextTooLong,
    DeadlineExceeded,
    FinishReason,
    MCPClient,
    MCPError,
    MCPSyncClient,
    ModelNotFound,
    Overloaded,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTimeout,
    QuotaExceeded,
    RequestError,
    ServerUnavailable,
    TurnTimeout,
)
from mcp_client._core.requests.names import session_name
from mcp_client.integrations._clients import Clients
from mcp_client.integrations._langchain import input as _input
from mcp_client.integrations._langchain import output as _output

__all__ = ["ChatContextProtocol"]

_LANGCHAIN_ERRORS: Final[Mapping[type[MCPError], type[exceptions.ModelError]]] = {
    RequestError: exceptions.ModelInvalidRequestError,
    ContextTooLong: exceptions.ContextOverflowError,
    ModelNotFound: exceptions.ModelNotFoundError,
    AccessError: exceptions.ModelPermissionDeniedError,
    BadCredentials: exceptions.ModelAuthenticationError,
    ProviderRejected: exceptions.ModelInvalidRequestError,
    ProviderRateLimited: exceptions.ModelRateLimitError,
    QuotaExceeded: exceptions.ModelRateLimitError,
    Overloaded: exceptions.ModelRateLimitError,
    ServerUnavailable: exceptions.ModelConnectionError,
    DeadlineExceeded: exceptions.ModelTimeoutError,
    TurnTimeout: exceptions.ModelTimeoutError,
    ProviderTimeout: exceptions.ModelTimeoutError,
    MCPError: exceptions.ModelAPIError,
}
"""LangChain's class for each error class; one that is not listed has that of its parent."""


class ChatContextProtocol(BaseChatModel):
    """The models behind a server, as a chat model of LangChain.

    Without a ``session`` each call sends its whole conversation, as LangChain's models do. With a session the server
    stores it: messages up to the last answer of the session are not sent again, so that a growing list and the new
    message alone are equivalent. The system message is then the session's ``system_instruction``.

    Errors are instances both of the classes of :mod:`mcp_client` and of the corresponding ones of
    :mod:`langchain_core.exceptions`.

    ``model``, ``session``, ``timeout`` and all options can also be passed to a call, or to ``bind``.
    """

    model_config = ConfigDict(extra="forbid")

    address: str | Sequence[str] | None = None
    """The address of the server, or several, as :class:`~mcp_client.MCPClient` takes them."""
    model: str = ""
    """An alias or ``provider/model``; empty: the session's model, then the server's."""
    session: str = ""
    """The session that stores the conversation, by its id or full name; it must exist. Empty: none."""
    temperature: float | None = None
    """0 to 2; 0 is greedy decoding."""
    max_tokens: int | None = None
    """The maximum length of the answer."""
    stop: list[str] | None = None
    """Stop sequences: the answer ends before the first of them."""
    timeout: float | None = None
    """The timeout of a call in seconds, including retries."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Further options of each call, as in :class:`~mcp_client.TurnOptions`, for example ``{"if_busy": "queue"}``."""
    streaming: bool = False
    """Whether ``invoke`` passes each token to callbacks."""
    client_options: dict[str, Any] = Field(default_factory=dict, exclude=True, repr=False)
    """Further arguments of the clients, for example ``{"api_key": "ctx_…"}``."""
    cache: BaseCache | bool | None = Field(default=False, exclude=True)
    """LangChain's cache of answers: off by default, because it would answer instead of the session."""
    clients: Clients | None = Field(default=None, exclude=True, repr=False)
    """The connections, which copies of a model share."""

    @model_validator(mode="after")
    def _connect(self) -> Self:
        if self.clients is None or not self.clients.created_with(self.address, self.client_options):
            self.clients = Clients(self.address, self.client_options)
        return self

    @property
    def client(self) -> MCPSyncClient:
        """The blocking client, for what LangChain does not offer: sessions, turns, models."""
        assert self.clients is not None
        return self.clients.blocking

    @property
    def async_client(self) -> MCPClient:
        """The asynchronous client of the running event loop."""
        assert self.clients is not None
        return self.clients.asynchronous

    def close(self) -> None:
        """Close the connection of blocking calls; the next call opens another."""
        assert self.clients is not None
        self.clients.close()

    async def aclose(self) -> None:
        """Close the connection of asynchronous calls in this event loop; the next call opens another."""
        assert self.clients is not None
        await self.clients.aclose()

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with _translated(), self.client.stream_chat(**self._request(messages, stop, kwargs)) as stream:
            events = list(stream.events())
            return _output.result(stream.reply(), events)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with _translated():
            async with self.async_client.stream_chat(**self._request(messages, stop, kwargs)) as stream:
                events = [event async for event in stream.events()]
                return _output.result(await stream.reply(), events)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        chunks = _output.Chunks()
        with _translated(), self.client.stream_chat(**self._request(messages, stop, kwargs)) as stream:
            for event in stream.events():
                if (chunk := chunks.convert(event)) is not None:
                    yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        chunks = _output.Chunks()
        with _translated():
            async with self.async_client.stream_chat(**self._request(messages, stop, kwargs)) as stream:
                async for event in stream.events():
                    if (chunk := chunks.convert(event)) is not None:
                        yield chunk

    def _request(self, messages: Sequence[BaseMessage], stop: list[str] | None, overrides: Mapping[str, Any]) -> Any:
        """The arguments of ``stream_chat``: those of the call, else those of the model."""
        arguments: dict[str, Any] = {
            "model": self.model,
            "session": self.session,
            "temperature": self.temperature,
            "max_output_tokens": self.max_tokens,
            "stop": self.stop,
            "timeout": self.timeout,
            **self.options,
            **overrides,
        }
        arguments.pop("stream", None)  # an option of LangChain itself
        if "max_tokens" in arguments:
            arguments["max_output_tokens"] = arguments.pop("max_tokens")
        if stop is not None:
            arguments["stop"] = stop
        arguments["session"] = session_name(arguments["session"]) if arguments["session"] else None
        arguments["tools"] = _input.tools(arguments.pop("tools", ()))
        if arguments.get("tool_choice") is not None:
            arguments["tool_choice"] = _input.tool_choice(arguments["tool_choice"])
        if (form := arguments.pop("response_format", None)) is not None:
            arguments |= _input.response_format(form)
        return {**arguments, "messages": _input.new_messages(messages, arguments["session"] or "")}

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | bool | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The same model with tools that it may call.

        Args:
            tools: functions, Pydantic classes, LangChain's tools, or dicts that describe one.
            tool_choice: ``"auto"``, ``"none"``, ``"any"`` or the name of the tool that the model must call; ``None``:
                the model decides.
            **kwargs: further options.

        Raises:
            TypeError, ValueError: a tool cannot be described.
        """
        described = [convert_to_openai_tool(tool) for tool in tools]
        _input.tools(described)
        if tool_choice is not None:
            _input.tool_choice(tool_choice)
            kwargs["tool_choice"] = tool_choice
        return self.bind(tools=described, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        include_raw: bool = False,
        method: Literal["json_schema", "function_calling", "json_mode"] = "json_schema",
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """The same model with answers that conform to a schema, parsed.

        An answer that reached its maximum length raises ``OutputParserException`` instead of returning an incomplete
        object.

        Args:
            schema: a Pydantic class, a ``TypedDict``, a JSON Schema with a title, or a tool in OpenAI's form.
            include_raw: whether to return a dict with ``raw``, ``parsed`` and ``parsing_error``.
            method: how the schema is enforced: as the schema of the answer, as a tool that the model must call, or only
                as an instruction to answer with a JSON object.
            **kwargs: further options.
        """
        if method == "function_calling":
            return super().with_structured_output(schema, include_raw=include_raw, **kwargs)
        if method == "json_schema":
            kwargs["json_schema"] = convert_to_json_schema(schema)
        elif method == "json_mode":
            kwargs["json"] = True
        else:
            raise ValueError(f"method: expected json_schema, function_calling or json_mode, not {method!r}")
        traced = {"kwargs": {"method": method}, "schema": schema}
        model = self.bind(ls_structured_output_format=traced, **kwargs)
        parser: JsonOutputParser
        if isinstance(schema, type) and is_basemodel_subclass(schema):
            parser = _CompleteObject(pydantic_object=schema)
        else:
            parser = _CompleteJson()
        if not include_raw:
            return model | parser
        parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
        broken = RunnablePassthrough.assign(parsed=lambda _: None)
        return RunnableMap(raw=model) | parsed.with_fallbacks([broken], exception_key="parsing_error")

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = _output.PROVIDER
        return params

    @property
    def _llm_type(self) -> str:
        return _output.PROVIDER

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        names = ("address", "model", "session", "temperature", "max_tokens", "stop", "options")
        return {name: getattr(self, name) for name in names}


class _CompleteJson(JsonOutputParser):
    """Refuses truncated answers, which LangChain's own parser would repair."""

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        message = result[0].message if isinstance(result[0], ChatGeneration) else None
        if message is not None and message.response_metadata.get("finish_reason") == FinishReason.LENGTH:
            raise exceptions.OutputParserException(
                "the answer reached its maximum length before the end of the object", llm_output=message.text
            )
        return super().parse_result(result, partial=partial)


class _CompleteObject(_CompleteJson, PydanticOutputParser[Any]):
    """The same for Pydantic classes."""


@contextmanager
def _translated() -> Iterator[None]:
    """Raise errors that are also instances of LangChain's classes."""
    try:
        yield
    except MCPError as error:
        kind = _both(type(error))  # type: ignore[arg-type]  # mypy takes the hash of a class for that of its instances
        raise kind(error.message, error.details) from error


@cache
def _both(kind: type[MCPError]) -> type[MCPError]:
    """A subclass of both our error class and LangChain's. It is pickled as ours."""
    theirs = next(_LANGCHAIN_ERRORS[parent] for parent in kind.__mro__ if parent in _LANGCHAIN_ERRORS)
    members = {"__doc__": kind.__doc__, "__module__": __name__, "__reduce__": lambda self: (kind, self.args)}
    return type(kind.__name__, (kind, theirs), members)
