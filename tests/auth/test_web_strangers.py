"""Every call of the APIs over HTTP, made by every kind of stranger, through a real server."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, Route

from contextprotocol.v1 import key_pb2
from mcp_server.middleware.authentication import failures
from mcp_server.middleware.authentication.scopes import RULES
from mcp_server.settings import WebSettings
from mcp_server.testing import EchoProvider
from mcp_server.values import SCOPES
from mcp_server.values.key_secret import new_key_id, new_secret
from tests.auth.keys import NewKey, config_with, new_key
from tests.conftest import Serve

SERVICES = {"/v1": "openai.v1", "/anthropic": "anthropic.v1"}
"""The paths of the APIs in these tests, each by itself."""
HELLO = [{"role": "user", "content": "hi"}]
CHAT = {"model": "echo/echo", "messages": HELLO}
OPEN = {"/healthz", "/readyz", "/", "/console.js", "/console.css", "/icon.svg", "/licenses.txt"}
"""What has no data of anybody."""


class Case(NamedTuple):
    """Who may make a call."""

    method: str
    """Its name in logs, metrics and for authentication."""
    scopes: frozenset[str] = frozenset()
    """The scopes of which one is enough; empty: any valid credentials will do."""
    body: Any = None
    """A request that uses a model; ``None``: it uses none."""
    query: str = ""


def _of(scopes: str, method: str, body: Any = None, query: str = "") -> Case:
    return Case(method, frozenset(scopes.split()), body, query)


CASES: dict[str, tuple[Case, ...]] = {
    "POST /v1/chat/completions": (_of("chat", "CreateChatCompletion", CHAT),),
    "POST /v1/completions": (_of("chat", "CreateCompletion", {"model": "echo/echo", "prompt": "a"}),),
    "POST /v1/embeddings": (_of("chat", "CreateEmbedding", {"model": "echo/echo", "input": "a"}),),
    "GET /v1/models": (_of("models", "ListModels"),),
    "GET /v1/models/{model:path}": (_of("models", "RetrieveModel", b""),),
    "POST /v1/responses": (_of("chat", "CreateResponse", {"model": "echo/echo", "input": "a"}),),
    "POST /v1/responses/input_tokens": (_of("models", "CountResponseTokens", {"model": "echo/echo", "input": "a"}),),
    "POST /v1/responses/compact": (_of("", "CompactResponse"),),
    "GET /v1/responses/{response_id}": (
        _of("sessions.read", "GetResponse"),
        _of("chat sessions.read", "StreamResponse", query="?stream=true"),
    ),
    "DELETE /v1/responses/{response_id}": (_of("sessions.write", "DeleteResponse"),),
    "POST /v1/responses/{response_id}/cancel": (_of("chat", "CancelResponse"),),
    "GET /v1/responses/{response_id}/input_items": (_of("sessions.read", "ListInputItems"),),
    "POST /v1/conversations": (_of("sessions.write", "CreateConversation"),),
    "GET /v1/conversations/{conversation_id}": (_of("sessions.read", "GetConversation"),),
    "POST /v1/conversations/{conversation_id}": (_of("sessions.write", "UpdateConversation"),),
    "DELETE /v1/conversations/{conversation_id}": (_of("sessions.write", "DeleteConversation"),),
    "GET /v1/conversations/{conversation_id}/items": (_of("sessions.read", "ListConversationItems"),),
    "POST /v1/conversations/{conversation_id}/items": (_of("sessions.write", "CreateConversationItems"),),
    "GET /v1/conversations/{conversation_id}/items/{item_id}": (_of("sessions.read", "GetConversationItem"),),
    "DELETE /v1/conversations/{conversation_id}/items/{item_id}": (_of("sessions.write", "DeleteConversationItem"),),
    "POST /anthropic/messages": (_of("chat", "CreateMessage", {**CHAT, "max_tokens": 9}),),
    "POST /anthropic/messages/count_tokens": (_of("models", "CountTokens", CHAT),),
    "GET /anthropic/models": (_of("models", "ListModels"),),
    "GET /anthropic/models/{model:path}": (_of("models", "GetModel", b""),),
}
"""By the method of HTTP and the path."""

ALL = new_key("red")
EXPIRED = new_key("red", expires=-1)
NO_MODEL = new_key("red", models=("other/*",))
LACKING = {scope: new_key("red", [each for each in SCOPES if each != scope]) for scope in SCOPES}
ONLY = {scope: new_key("red", [scope]) for scope in SCOPES}


class House:
    """A server, and calls to it."""

    def __init__(self, server: Any, client: aiohttp.ClientSession, revoked: str) -> None:
        self.server = server
        self.client = client
        self.revoked = revoked

    async def call(self, path: str, case: Case, body: Any = b"\xff", **headers: str) -> tuple[int, str, str]:
        """The status, the reason and the body of the response; without the id of the request."""
        verb, _, target = path.partition(" ")
        target = target.replace("{model:path}", "echo/echo").replace("{", "").replace("}", "")
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        headers = {"content-type": "application/json", **{key.replace("_", "-"): headers[key] for key in headers}}
        url = f"http://{self.server.web_address}{target}{case.query}"
        async with self.client.request(verb, url, data=None if verb == "GET" else data, headers=headers) as response:
            text = await response.text()
            answer = msgspec.json.decode(text)
        answer.pop("request_id", None)
        error = answer.get("error") or {}
        reason = error.get("code") or error.get("details", {}).get("error_code", "")
        return response.status, reason, msgspec.json.encode(answer).decode()

    async def with_key(self, path: str, case: Case, key: NewKey, body: Any = b"\xff") -> tuple[int, str, str]:
        """The same with a key."""
        return await self.call(path, case, body, authorization=f"Bearer {key.secret}")


@pytest.fixture
async def house(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    """A server with keys of every kind."""
    monkeypatch.setattr(failures, "MAX_DELAY", 0.0)
    keys = (ALL, EXPIRED, NO_MODEL, *LACKING.values(), *ONLY.values())
    config = config_with(*keys, stored_keys=True, first_key_file=tmp_path / "first")
    web = msgspec.convert(
        {"address": "127.0.0.1:0", "paths": {"openai": ["/v1"], "anthropic": ["/anthropic"]}}, WebSettings
    )
    wire = await serve(msgspec.structs.replace(config, web=web), providers={"echo": EchoProvider()})
    create: Any = key_pb2.CreateKeyRequest
    created = await wire.keys.CreateKey(create(key=key_pb2.Key(scopes=["chat"])), metadata=ALL.metadata)
    await wire.keys.RevokeKey(key_pb2.RevokeKeyRequest(name=created.key.name), metadata=ALL.metadata)
    async with aiohttp.ClientSession() as client:
        yield House(wire.server, client, created.secret)


def _cases() -> Iterator[tuple[str, Case]]:
    return ((path, case) for path, cases in CASES.items() for case in cases)


def _routes(routes: list[BaseRoute]) -> Iterator[str]:
    for route in routes:
        if isinstance(route, Route):
            for verb in route.methods or {"POST"}:
                yield f"{verb} {route.path}"
        elif isinstance(route, Mount):
            yield from _routes(list(route.routes))


async def test_every_route_has_a_case_and_every_call_a_rule(house: House) -> None:
    """A call that is added must say here who may make it."""
    application = house.server.http_application()
    assert isinstance(application, Starlette)
    found = {path for path in _routes(application.routes) if not path.startswith("HEAD ")}
    services = {path for path in found if path.endswith("/{method}")}
    assert found - services - {f"GET {path}" for path in OPEN} == CASES.keys()
    known = {}
    for path, case in _cases():
        service = next(name for prefix, name in SERVICES.items() if path.partition(" ")[2].startswith(prefix))
        known[service, case.method] = case.scopes
    assert known == {name: rule for name, rule in RULES.items() if name[0] in SERVICES.values()}


async def test_who_has_no_valid_credentials_gets_in_nowhere_and_learns_nothing(house: House) -> None:
    """Whatever is wrong with a key, the answer is the same, byte for byte, and the request is not looked at."""
    strangers = {
        "malformed": "ctx_x",
        "unknown": new_secret(new_key_id()),
        "wrong secret": new_secret(ALL.id),
        "revoked": house.revoked,
        "expired": EXPIRED.secret,
    }
    for path, case in _cases():
        none = await house.call(path, case)
        assert none[0] == 401, path
        answers = {await house.call(path, case, authorization=f"Bearer {secret}") for secret in strangers.values()}
        answers |= {await house.call(path, case, b"{}", authorization=f"Bearer {house.revoked}")}
        if "/anthropic/" in path:
            answers |= {await house.call(path, case, x_api_key=secret) for secret in strangers.values()}
        assert [answer[0] for answer in answers] == [401], (path, answers)
        if "/anthropic/" in path:  # nobody has to guess for whom a call is made
            both = {"authorization": f"Bearer {ALL.secret}", "x_api_key": ALL.secret}
            assert (await house.call(path, case, **both))[0] == 401


async def test_a_key_without_the_scope_is_refused_and_one_with_only_that_scope_is_not(house: House) -> None:
    """Permission comes before everything that the request says."""
    wrong = {}
    for (path, case), scope in itertools.product(_cases(), SCOPES):
        lacking = await house.with_key(path, case, LACKING[scope])
        if (lacking[:2] == (403, "not_allowed")) != (case.scopes == {scope}):
            wrong[f"{path}{case.query} without {scope}"] = lacking
        only = await house.with_key(path, case, ONLY[scope])
        if (only[0] == 403) != (bool(case.scopes) and scope not in case.scopes):
            wrong[f"{path}{case.query} with only {scope}"] = only
    assert wrong == {}


async def test_a_model_that_a_key_may_not_use_is_refused(house: House) -> None:
    """In every call that uses one, whether there is such a model or not, and no list shows it."""
    wrong = {}
    for path, case in _cases():
        if case.body is not None:
            allowed = await house.with_key(path, case, ALL, case.body)
            refused = await house.with_key(path, case, NO_MODEL, case.body)
            if allowed[0] != 200 or refused[:2] != (403, "not_allowed"):
                wrong[path] = allowed, refused
        elif case.method == "ListModels":
            assert "echo" in (await house.with_key(path, case, ALL))[2]
            assert "echo" not in (await house.with_key(path, case, NO_MODEL))[2]
    assert wrong == {}
