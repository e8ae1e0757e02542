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
from mcp_client._core import defaults
from mcp_client._core.requests.names import session_name
from mcp_client.integrations import _langchain_messages as values
from mcp_client.integrations._clients import Clients

__all__ = ["ChatContextProtocol"]

_KINDS: Final[Mapping[type[MCPError], type[exceptions.ModelError]]] = {
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
"""What LangChain calls each error; a kind that is not here is what its parent is."""


class ChatContextProtocol(BaseChatModel):
    """The models behind a server, as a chat model of LangChain.

    Without a ``session`` each call carries its whole conversation, as LangChain's models have it. With one the server
    keeps it: of the messages that a call is given, those up to the last answer of that session are not sent again, so
    that both a list that grows and the new message alone say the same. What the model is told beforehand is then the
    session's ``system_instruction``.

    Errors are those of :mod:`mcp_client` and, at the same time, the ones of :mod:`langchain_core.exceptions` that
    mean the same.

    ``model``, ``session``, ``timeout`` and all knobs can also be given to a call, or to ``bind``.
    """

    model_config = ConfigDict(extra="forbid")

    address: str | Sequence[str] = defaults.ADDRESS
    """Of the server, or several, as :class:`~mcp_client.MCPClient` takes them."""
    model: str = ""
    """An alias or ``provider/model``; empty: the session's, then the server's default."""
    session: str = ""
    """The session that keeps the conversation, by its id or full name; it must be there. Empty: none."""
    temperature: float | None = None
    """0 to 2; 0 is greedy."""
    max_tokens: int | None = None
    """The longest answer."""
    stop: list[str] | None = None
    """An answer ends before the first of these."""
    timeout: float | None = None
    """Seconds that a call may take, all of its attempts together."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Other knobs of each call, as in :class:`~mcp_client.TurnOptions`, for example ``{"if_busy": "queue"}``."""
    streaming: bool = False
    """Whether ``invoke`` tells callbacks of each token."""
    client_options: dict[str, Any] = Field(default_factory=dict, exclude=True, repr=False)
    """What the clients are made with besides, for example ``{"metadata": {"authorization": "Bearer …"}}``."""
    cache: BaseCache | bool | None = Field(default=False, exclude=True)
    """LangChain's cache of answers: not used by default, because it would answer in the place of a session."""
    clients: Clients | None = Field(default=None, exclude=True, repr=False)
    """The connections; models that are copies of one another share them."""

    @model_validator(mode="after")
    def _connect(self) -> Self:
        if self.clients is None or not self.clients.made_with(self.address, self.client_options):
            self.clients = Clients(self.address, self.client_options)
        return self

    @property
    def client(self) -> MCPSyncClient:
        """The blocking client, for what LangChain has no word for: sessions, turns, models."""
        assert self.clients is not None
        return self.clients.blocking

    @property
    def async_client(self) -> MCPClient:
        """The asynchronous client of the running event loop."""
        assert self.clients is not None
        return self.clients.asynchronous

    def close(self) -> None:
        """Close the connection of blocking calls; the next one opens another."""
        assert self.clients is not None
        self.clients.close()

    async def aclose(self) -> None:
        """Close the connection of asynchronous calls in this event loop; the next one opens another."""
        assert self.clients is not None
        await self.clients.aclose()

    # -- what LangChain calls -----------------------------------------------------------------------------------------

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with _translated(), self.client.stream_chat(**self._request(messages, stop, kwargs)) as stream:
            events = list(stream.events())
            return values.result(stream.reply(), events)

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
                return values.result(await stream.reply(), events)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        pieces = values.Pieces()
        with _translated(), self.client.stream_chat(**self._request(messages, stop, kwargs)) as stream:
            for event in stream.events():
                if (chunk := pieces.take(event)) is not None:
                    yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        pieces = values.Pieces()
        with _translated():
            async with self.async_client.stream_chat(**self._request(messages, stop, kwargs)) as stream:
                async for event in stream.events():
                    if (chunk := pieces.take(event)) is not None:
                        yield chunk

    def _request(self, messages: Sequence[BaseMessage], stop: list[str] | None, given: Mapping[str, Any]) -> Any:
        """The arguments of a call: those that are given with it, else those of this model."""
        asked: dict[str, Any] = {
            "model": self.model,
            "session": self.session,
            "temperature": self.temperature,
            "max_output_tokens": self.max_tokens,
            "stop": self.stop,
            "timeout": self.timeout,
            **self.options,
            **given,
        }
        asked.pop("stream", None)  # it is for LangChain itself
        if "max_tokens" in asked:
            asked["max_output_tokens"] = asked.pop("max_tokens")
        if stop is not None:
            asked["stop"] = stop
        asked["session"] = session_name(asked["session"]) if asked["session"] else None
        asked["tools"] = values.tools(asked.pop("tools", ()))
        if asked.get("tool_choice") is not None:
            asked["tool_choice"] = values.tool_choice(asked["tool_choice"])
        if (form := asked.pop("response_format", None)) is not None:
            asked |= values.response_format(form)
        return {**asked, "messages": values.said(messages, asked["session"] or "")}

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | bool | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The same model with tools that it may ask for.

        Args:
            tools: functions, Pydantic classes, LangChain's tools, or dicts that describe one.
            tool_choice: ``"auto"``, ``"none"``, ``"any"`` or the name of the one that it must ask for; ``None``: the
                model decides.
            **kwargs: other knobs.

        Raises:
            TypeError, ValueError: a tool cannot be described.
        """
        described = [convert_to_openai_tool(tool) for tool in tools]
        values.tools(described)
        if tool_choice is not None:
            values.tool_choice(tool_choice)
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
        """The same model with answers that fit a schema, parsed.

        An answer that reached its limit of length is an ``OutputParserException``, never an object with a part missing.

        Args:
            schema: a Pydantic class, a ``TypedDict``, a JSON Schema with a title, or a tool as OpenAI has it.
            include_raw: whether the message comes too: then a dict with ``raw``, ``parsed`` and ``parsing_error``.
            method: how the model is held to it: by the schema itself, by a tool of that form which it must ask for, or
                by nothing but the promise of some JSON object.
            **kwargs: other knobs.
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
            parser = _WholeObject(pydantic_object=schema)
        else:
            parser = _WholeJson()
        if not include_raw:
            return model | parser
        parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
        broken = RunnablePassthrough.assign(parsed=lambda _: None)
        return RunnableMap(raw=model) | parsed.with_fallbacks([broken], exception_key="parsing_error")

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = values.PROVIDER
        return params

    @property
    def _llm_type(self) -> str:
        return values.PROVIDER

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        names = ("address", "model", "session", "temperature", "max_tokens", "stop", "options")
        return {name: getattr(self, name) for name in names}


class _WholeJson(JsonOutputParser):
    """Takes no answer that was cut off, which LangChain's own would complete by themselves."""

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        message = result[0].message if isinstance(result[0], ChatGeneration) else None
        if message is not None and message.response_metadata.get("finish_reason") == FinishReason.LENGTH:
            raise exceptions.OutputParserException(
                "the answer ended at its limit of length, in the middle of the object", llm_output=message.text
            )
        return super().parse_result(result, partial=partial)


class _WholeObject(_WholeJson, PydanticOutputParser[Any]):
    """The same for objects of a Pydantic class."""


@contextmanager
def _translated() -> Iterator[None]:
    """Raise errors that LangChain knows too."""
    try:
        yield
    except MCPError as error:
        kind = _both(type(error))  # type: ignore[arg-type]  # mypy takes the hash of a class for that of its objects
        raise kind(error.message, error.details) from error


@cache
def _both(kind: type[MCPError]) -> type[MCPError]:
    """A kind of error that is at the same time what LangChain calls it. Pickled, it is only ours."""
    theirs = next(_KINDS[parent] for parent in kind.__mro__ if parent in _KINDS)
    members = {"__doc__": kind.__doc__, "__module__": __name__, "__reduce__": lambda self: (kind, self.args)}
    return type(kind.__name__, (kind, theirs), members)
