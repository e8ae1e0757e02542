"""CORS: which pages may call, and which responses and headers they may read."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from mcp_server.settings import CORSSettings
from mcp_server.testing import EchoProvider, running
from mcp_server.web.application import EXPOSED
from tests.web.connect.client import CHAT, HELLO
from tests.web.servers import web_config

PAGE = "https://app.example.com"
ASKED = "authorization,connect-protocol-version,connect-timeout-ms,content-type,grpc-timeout,x-grpc-web,x-user-agent"
"""The headers that Connect's and gRPC-Web's clients send."""


async def answered(
    cors: dict[str, Any], origin: str, verb: str = "OPTIONS", **headers: str
) -> tuple[int, dict[str, str]]:
    """The status and the headers of an answer to a page of ``origin``."""
    sent = {"origin": origin, **{name.replace("_", "-"): value for name, value in headers.items()}}
    data = None
    if verb == "OPTIONS":
        sent = {"access-control-request-method": "POST", "access-control-request-headers": ASKED} | sent
    else:
        sent, data = sent | {"content-type": "application/json"}, HELLO
    async with (
        running(web_config(cors=CORSSettings(**cors)), providers={"echo": EchoProvider()}) as server,
        aiohttp.ClientSession() as http,
        http.request(verb, f"http://{server.web_address}{CHAT}", headers=sent, data=data) as response,
    ):
        return response.status, {name.lower(): value for name, value in response.headers.items()}


@pytest.mark.parametrize(
    ("pattern", "origin"),
    [
        (PAGE, PAGE),
        ("https://*.example.com", PAGE),
        ("https://*.example.com", "https://a.b.example.com"),
        ("http://localhost:*", "http://localhost:5173"),
        ("http://localhost:*", "http://localhost"),
    ],
)
async def test_the_preflight_of_an_allowed_page_says_what_it_may_send(pattern: str, origin: str) -> None:
    """Its own origin, what it may send, and for how long that holds."""
    status, headers = await answered({"origins": (pattern,)}, origin)
    assert (status, headers["access-control-allow-origin"]) == (200, origin)
    assert "POST" in headers["access-control-allow-methods"]
    assert set(ASKED.split(",")) <= {name.strip() for name in headers["access-control-allow-headers"].split(",")}
    assert headers["access-control-max-age"] == "600"
    assert "origin" in headers["vary"].lower()
    assert "access-control-allow-credentials" not in headers


@pytest.mark.parametrize(
    ("origins", "origin"),
    [
        ((), PAGE),
        ((PAGE,), "https://other.example.com"),
        ((PAGE,), "http://app.example.com"),
        ((PAGE,), f"{PAGE}:8443"),
        ((PAGE,), f"{PAGE}.attacker.test"),
        ((PAGE,), "null"),
        (("https://*.example.com",), "https://example.com"),
        (("https://*.example.com",), "https://attackerexample.com"),
        (("https://*.example.com",), "https://a.example.com.attacker.test"),
        (("http://localhost:*",), "http://localhost:80.attacker.test"),
    ],
)
@pytest.mark.parametrize("verb", ["OPTIONS", "POST"])
async def test_another_page_may_not_call(origins: tuple[str, ...], origin: str, verb: str) -> None:
    """Its preflight is refused, and so is its request."""
    status, headers = await answered({"origins": origins}, origin, verb)
    assert status == 403
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("origin", [PAGE, "null", "http://localhost:5173"])
async def test_every_page_may_call_if_the_setting_says_so(origin: str) -> None:
    """Of a file, too."""
    for verb in ("OPTIONS", "POST"):
        status, headers = await answered({"origins": ("*",)}, origin, verb)
        assert (status, headers["access-control-allow-origin"]) == (200, "*")


async def test_a_page_may_read_the_headers_of_the_protocols() -> None:
    """Those of the setting as well."""
    status, headers = await answered({"origins": (PAGE,), "expose": ("x-mine",)}, PAGE, "POST")
    assert (status, headers["access-control-allow-origin"]) == (200, PAGE)
    exposed = {name.strip() for name in headers["access-control-expose-headers"].split(",")}
    assert exposed == {*EXPOSED, "x-mine"}
    assert {"grpc-status", "grpc-message", "grpc-status-details-bin", "grpc-retry-pushback-ms"} <= exposed


async def test_the_other_settings_are_in_the_headers_of_preflights() -> None:
    """Credentials, methods, headers and how long."""
    cors = {"origins": (PAGE,), "credentials": True, "max_age": 5, "methods": ("POST",), "headers": ("content-type",)}
    status, headers = await answered(cors, PAGE, access_control_request_headers="content-type")
    assert (status, headers["access-control-allow-credentials"]) == (200, "true")
    assert (headers["access-control-max-age"], headers["access-control-allow-methods"]) == ("5", "POST")
    status, headers = await answered(cors, PAGE, access_control_request_headers="authorization")
    assert (status, "authorization" in headers["access-control-allow-headers"]) == (400, False)
    status, _ = await answered(cors, PAGE, access_control_request_method="DELETE")
    assert status == 400
