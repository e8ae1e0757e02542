"""The files of the console as a browser gets them."""

from __future__ import annotations

from typing import Final

import aiohttp
import pytest

from mcp_server.settings import WebPaths
from mcp_server.testing import running
from tests.web.servers import get, web_config

TYPES: Final = {
    "": "text/html; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "console.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "licenses.txt": "text/plain; charset=utf-8",
}


@pytest.mark.parametrize("path", TYPES)
async def test_files_are_safe_and_fresh(path: str) -> None:
    """Each has its type, a strict policy, and a tag with which a browser asks whether it has changed."""
    async with running(web_config()) as server, aiohttp.ClientSession() as client:
        async with client.get(server.web_url + path) as response:
            assert response.status == 200
            headers = response.headers
            assert len(await response.read()) > 100
        assert headers["content-type"] == TYPES[path]
        assert headers["content-encoding"] == "gzip"
        assert headers["cache-control"] == "no-cache"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert (
            policy["default-src"]
            == policy["base-uri"]
            == policy["form-action"]
            == policy["frame-ancestors"]
            == "'none'"
        )
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        async with client.get(server.web_url + path, headers={"if-none-match": headers["etag"]}) as response:
            assert (response.status, await response.read()) == (304, b"")
        async with client.head(server.web_url + path, headers={"accept-encoding": "identity"}) as response:
            assert response.status == 200
            assert response.headers["etag"] != headers["etag"]


async def test_the_page_lies_in_a_folder() -> None:
    """A path without the slash leads there, so that the page finds its files; the services are there too."""
    async with running(web_config(base_path="/base", paths=WebPaths(console=("/ui",)))) as server:
        for path in ("ui", "ui/"):
            status, text = await get(server.web_url + path)
            assert (status, "console.js" in text) == (200, True)
        assert (await get(f"{server.web_url}ui/nothing"))[0] == 404
        url = f"{server.web_url}ui/contextprotocol.v1.KeyService/WhoAmI"
        async with aiohttp.ClientSession() as client, client.post(url, json={}) as response:
            assert (await response.json())["tenant"] == "default"


async def test_the_console_can_be_switched_off() -> None:
    """Then there is nothing at its path."""
    async with running(web_config(paths=WebPaths(console=()))) as server:
        assert (await get(server.web_url))[0] == 404
