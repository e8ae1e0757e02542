"""Every route of the HTTP edge, with whatever bodies and headers: a clear answer, in time, of nobody else's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
import structlog
from starlette.routing import Route

from mcp_server.middleware.authentication import failures
from mcp_server.settings import SessionSettings, TurnSettings, WebSettings
from mcp_server.web import anthropic, openai
from mcp_server.web.edge import WebEdge
from tests.auth.keys import ENDLESS
from tests.conftest import Serve
from tests.costly import path_of
from tests.fuzz.requests import RPCS
from tests.fuzz.tenants import MARKER, EchoOfEverything, Tenants, configured
from tests.fuzz.web_requests import OPERATIONS, Known, Request, make
from tests.web.servers import exchange

REQUESTS = 5000
EVERY = 100
"""How many requests there are from one look at what must not have changed to the next."""
DEADLINE = 20.0
"""Seconds after which a request hangs."""
ENDLESS_TARGETS = {path_of(method) for method, _ in RPCS if method.full_name in ENDLESS}
FAULTS = {500, 502}
"""Statuses that say that the server has failed."""


class House:
    """A server with tenants.

    Args:
        address: of its HTTP edge.
        tenants: what they own by gRPC.
        secrets: of each tenant's key.
    """

    def __init__(self, address: str, tenants: Tenants, secrets: dict[str, str]) -> None:
        self.tenants, self.secrets = tenants, secrets
        self.known: dict[str, Known] = {}
        self._address = address

    async def send(self, request: Request) -> tuple[int, bytes]:
        """The status and all that the server sends, on a connection of its own; the status is 0 if it sends nothing."""
        headers = request.headers
        if "host" not in dict(headers):
            headers = (("host", self._address), *headers)
        lines = [f"{request.method} {request.target} HTTP/1.1", *[f"{name}: {value}" for name, value in headers]]
        lines += ["connection: close", f"content-length: {len(request.body)}", "", ""]
        data = "\r\n".join(lines).encode() + request.body
        async with asyncio.timeout(DEADLINE):
            received = await exchange(self._address, data, whole=request.target not in ENDLESS_TARGETS)
        return int(received[9:12] or 0), received

    async def furnish(self) -> None:
        """Give the tenants responses and conversations, anew for the one who may delete them."""
        await self.tenants.canary()
        for tenant, names in zip(("blue", "red"), self.tenants.names, strict=True):
            if tenant == "blue" or tenant not in self.known:
                text = MARKER if tenant == "red" else tenant
                body = {"model": "echo/echo", "input": text, "metadata": {"of": text}}
                response = await self._create(tenant, "responses", body)
                items = [{"role": "user", "content": text}]
                conversation = await self._create(tenant, "conversations", {"items": items})
                listed = await self._ask(tenant, "GET", f"conversations/{conversation}/items")
                ids = {"response_id": response, "conversation_id": conversation, "item_id": listed["data"][0]["id"]}
                self.known[tenant] = Known(names, {**ids, "model:path": "echo/echo"})
            self.known[tenant] = self.known[tenant]._replace(names=names)
        of_red = self.known["red"].ids
        assert (await self._ask("red", "GET", f"responses/{of_red['response_id']}"))["metadata"] == {"of": MARKER}
        listed = await self._ask("red", "GET", f"conversations/{of_red['conversation_id']}/items")
        assert [item["id"] for item in listed["data"]] == [of_red["item_id"]]

    async def _create(self, tenant: str, path: str, body: Any) -> str:
        created: str = (await self._ask(tenant, "POST", path, json.dumps(body).encode()))["id"]
        return created

    async def _ask(self, tenant: str, method: str, path: str, body: bytes = b"") -> Any:
        headers = (("authorization", f"Bearer {self.secrets[tenant]}"), ("content-type", "application/json"))
        status, received = await self.send(Request(method, f"/v1/{path}", headers, body))
        assert status == 200, received
        return json.loads(received.partition(b"\r\n\r\n")[2])


@pytest.fixture
async def house(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    """At the end the server still answers, and has no more to do than at the start."""
    monkeypatch.setattr(failures, "MAX_DELAY", 0.0)
    config, secrets = configured(tmp_path)
    # What belongs to the other tenant must not end meanwhile.
    config = msgspec.structs.replace(
        config,
        web=WebSettings(address="127.0.0.1:0"),
        sessions=SessionSettings(),
        turns=msgspec.structs.replace(config.turns, retention=TurnSettings().retention),
    )
    wire = await serve(config, providers={"echo": EchoOfEverything()})
    tenants = Tenants(wire.channel, secrets)
    await tenants.furnish()
    house = House(wire.server.web_address, tenants, secrets)
    await house.furnish()
    tasks = len(asyncio.all_tasks())
    yield house
    await house.furnish()
    async with asyncio.timeout(20):
        while len(asyncio.all_tasks()) > tasks:  # noqa: ASYNC110  # no event tells that a task has ended
            await asyncio.sleep(0.05)


def test_every_route_is_fuzzed() -> None:
    """Those of the two vendors' APIs; the services are, by their RPCs."""
    nothing: Any = None
    edge = WebEdge(nothing, nothing, 0)
    parts = [openai.part(["/v1"], nothing, edge, nothing), anthropic.part(["/v1"], ["/v1"], nothing, edge, nothing)]
    routes = [route for part in parts for route in part.routes("/v1")]
    served = {(method, route.path) for route in routes if isinstance(route, Route) for method in route.methods or ()}
    assert served - {("HEAD", path) for _, path in served} == {
        (operation.method, operation.path) for operation in OPERATIONS if operation.path.startswith("/v1/")
    }


async def test_no_request_gets_an_unclear_answer(house: House) -> None:
    """None makes the server fail, outlasts its deadline, or shows what belongs to another tenant."""
    with structlog.testing.capture_logs() as logged:
        for seed in range(REQUESTS):
            request = make(Random(seed), house.known["blue"], house.known["red"], house.secrets["blue"])  # noqa: S311
            status, received = await house.send(request)
            assert status, f"no answer: {request}"
            assert status not in FAULTS, f"{request}\n{received!r}"
            assert MARKER.encode() not in received, f"{request}\n{received!r}"
            # The line of a call has the status that its caller was told.
            faults = [line for line in logged if line["log_level"] in ("error", "critical") and line["event"] != "call"]
            assert not faults, f"{request}\n{faults}"
            logged.clear()
            if seed % EVERY == 0:
                await house.furnish()
