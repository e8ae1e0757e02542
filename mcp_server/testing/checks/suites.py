"""Makes the class of tests for a plug-in out of the contracts that apply to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import pytest
import pytest_asyncio

from mcp_server.interfaces import AccountStore, Embedder, GenerateRequest, PartState, SharedStore, TokenCounter, Work
from mcp_server.principal import Principal
from mcp_server.testing.checks.loading import NotFulfilled, load_table, make, make_shared
from mcp_server.testing.checks.request import CheckRequest
from mcp_server.testing.contracts.admission import AdmissionContract
from mcp_server.testing.contracts.authenticators import AuthenticatorContract
from mcp_server.testing.contracts.context_types import ContextTypeContract
from mcp_server.testing.contracts.middleware import MiddlewareContract
from mcp_server.testing.contracts.observers import TurnObserverContract
from mcp_server.testing.contracts.providers import (
    EmbeddingContract,
    ProviderContract,
    ProviderStateContract,
    Subject,
    TokenCounterContract,
    ToolContract,
)
from mcp_server.testing.contracts.stores import AccountStoreContract, SharedStoreContract, StoreContract
from mcp_server.values import ContextEntry, Message, Model, Role, Text, Tool, ToolChoice

_PARAMETERS: Final = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_WEATHER: Final = Tool(name="weather", description="The weather in a city.", parameters_json=json.dumps(_PARAMETERS))
_SKIPPED: Final = "the settings of the check name no valid credentials: pass --credential NAME=VALUE"


def suite(request: CheckRequest) -> type | None:
    """The tests; ``None`` if there is no contract for the kind of the plug-in."""
    table = load_table(request)
    bases, members = _SUITES[request.kind](request, table) if request.kind in _SUITES else ((), {})
    return type("TestPlugIn", bases, members) if bases else None


Parts = tuple[tuple[type, ...], dict[str, Any]]


def _without(contract: type, reason: str, *, but: tuple[str, ...] = ()) -> dict[str, Any]:
    """Members that skip the tests of a contract."""

    def skipped(self: object) -> None:
        pytest.skip(reason)

    return {name: skipped for name in dir(contract) if name.startswith("test_") and name not in but}


def _provider(request: CheckRequest, table: Any) -> Parts:
    probe, models, states = asyncio.run(_look(request, table))
    chats = [model for model in models if model.capabilities.chat]
    embeds = [model for model in models if model.capabilities.embedding]
    chosen = next((model for model in models if model.name == request.model), None)
    if chosen is None and (request.model or not models):
        names = ", ".join(model.name for model in models) or "none"
        raise NotFulfilled(f"it lists no model {request.model}; its models: {names}".replace("  ", " "))
    chat = chosen or next(iter(chats), models[0])
    tool_request = GenerateRequest(
        model=chat.name,
        messages=(Message(role=Role.USER, parts=(Text(text="What is the weather in Paris?"),)),),
        tools=(_WEATHER,),
        tool_choice=ToolChoice(mode="required"),
    )

    async def subject(cls: type) -> Subject:
        return Subject(
            provider=make(request, table),
            model=chat.name,
            completes=chat.capabilities.completion,
            embedding_model=embeds[0].name if embeds else "",
            tool_request=tool_request if chat.capabilities.tools else None,
        )

    bases: list[type] = [ProviderContract]
    members: dict[str, Any] = {"make": classmethod(subject)}
    if not chats:
        members |= _without(ProviderContract, "no model chats")
    if chats and isinstance(probe, TokenCounter):
        bases.append(TokenCounterContract)
    if chat.capabilities.tools:
        bases.append(ToolContract)
    if embeds and isinstance(probe, Embedder):
        bases.append(EmbeddingContract)
    if states:
        bases.append(ProviderStateContract)
    return tuple(bases), members


async def _look(request: CheckRequest, table: Any) -> tuple[Any, list[Model], bool]:
    """A provider, which is closed already, its models, and whether its answers have states."""
    provider = make(request, table)
    try:
        models = [*await provider.models()]
        chats = [model.name for model in models if model.capabilities.chat]
        name = request.model or next(iter(chats), "")
        if not any(model.name == name for model in models):
            return provider, models, False
        events = [event async for event in provider.generate(Subject(provider=provider, model=name).chat())]
        return provider, models, any(isinstance(event, PartState) for event in events)
    finally:
        await provider.close()


def _store(request: CheckRequest, table: Any) -> Parts:
    async def made() -> Any:
        return make(request, table)

    probe = asyncio.run(made())
    bases: list[type] = [SharedStoreContract] if isinstance(probe, SharedStore) else []
    bases += [AccountStoreContract] if isinstance(probe, AccountStore) else []

    @pytest_asyncio.fixture
    async def both(self: object) -> AsyncIterator[list[Any]]:
        stores = make_shared(request, table, 2 if isinstance(probe, SharedStore) else 1)
        for store in stores:
            await store.open()
        yield stores
        for store in stores:
            await store.close()

    @pytest.fixture
    def store(self: object, both: list[Any]) -> Any:
        return both[0]

    @pytest.fixture
    def another(self: object, both: list[Any]) -> Any:
        return both[1]

    return tuple(bases or [StoreContract]), {"both": both, "store": store, "another": another}


def _made(contract: type, **members: Any) -> Callable[[CheckRequest, Any], Parts]:
    def parts(request: CheckRequest, table: Any) -> Parts:
        return (contract,), {"make": lambda self: make(request, table), **members}

    return parts


def _authenticator(request: CheckRequest, table: Any) -> Parts:
    valid = dict(request.credentials)
    members: dict[str, Any] = {
        "make": lambda self: make(request, table),
        "valid": valid,
        "invalid": [{**valid, key: value[:-1] + ("0" if value[-1:] != "0" else "1")} for key, value in valid.items()],
    }
    if not valid:
        members |= _without(AuthenticatorContract, _SKIPPED, but=("test_a_call_without_credentials_is_left_to_others",))
    return (AuthenticatorContract,), members


def _context_type(request: CheckRequest, table: Any) -> Parts:
    name = request.name
    entries = [
        ContextEntry(type=name, kind="text", text="Ada"),
        ContextEntry(type=name, kind="json", json={"name": "Ada"}),
        ContextEntry(type=name, kind="json", json=[[1, 2]]),
        ContextEntry(type=name, kind="json", json="Ada"),
        ContextEntry(type=name, kind="data", data=b"Ada", mime_type="text/plain"),
        ContextEntry(type=name, kind="data", data=b"\xff", mime_type="image/png"),
    ]
    valid = [entry for entry in entries if table.validate(entry) is None]
    invalid = [entry for entry in entries if entry not in valid]
    members: dict[str, Any] = {"context_type": table, "valid": valid or entries[:1], "invalid": invalid}
    reason = "of the entries that the check knows the type accepts none: write a test with entries of your own"
    for test in ("test_a_valid_entry_is_accepted", "test_a_valid_entry_is_rendered_alike_each_time"):
        if not valid:
            members[test] = _without(ContextTypeContract, reason)[test]
    if not invalid:
        test = "test_an_invalid_entry_is_refused_with_a_reason"
        members[test] = _without(ContextTypeContract, "the type accepts every entry that the check knows")[test]
    return (ContextTypeContract,), members


_SUITES: Final[Mapping[str, Callable[[CheckRequest, Any], Parts]]] = {
    "providers": _provider,
    "stores": _store,
    "middleware": _made(MiddlewareContract),
    "authenticators": _authenticator,
    "admission_rules": _made(
        AdmissionContract, principal=Principal(tenant="check", key="check"), work=Work(service="chat")
    ),
    "observers": _made(TurnObserverContract),
    "context_types": _context_type,
}
