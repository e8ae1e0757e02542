"""Servers with an HTTP edge, and requests to them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec

from mcp_server.settings import Config, WebSettings
from mcp_server.settings import testing_config as plain_config

replace = msgspec.structs.replace


def web_config(**web: Any) -> Config:
    """Settings with an HTTP edge on any free port, and the model ``echo/echo``."""
    return replace(plain_config(default_model="echo/echo"), web=WebSettings(**{"address": "127.0.0.1:0", **web}))


async def get(url: str, headers: Mapping[str, str] | None = None, **options: Any) -> tuple[int, str]:
    """The status and the body of a page."""
    async with aiohttp.ClientSession() as client, client.get(url, headers=headers, **options) as response:
        return response.status, await response.text()


async def exchange(address: str, data: bytes, *, whole: bool = True) -> bytes:
    """What the server answers to raw bytes until it closes the connection; if not ``whole``, the beginning of that."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(data)
        with contextlib.suppress(ConnectionError):
            return await (reader.read() if whole else reader.read(1 << 16))
        return b""
    finally:
        writer.close()
