"""Headers with bytes that gRPC's clients do not send, over plain HTTP/2."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from mcp_server.middleware.authentication import failures
from mcp_server.testing import EchoProvider
from tests.auth.keys import config_with, new_key
from tests.conftest import Serve
from tests.http2 import RawConnection, message

WHO_AM_I = "/contextprotocol.v1.KeyService/WhoAmI"
KEY = new_key()
SECRET = f"Bearer {KEY.secret}".encode()
ODD = [
    b"Bearer \xff\xfe",
    b"Bearer \xed\xa0\x80",
    b"Bearer a.b.\xff",
    SECRET[:-3] + b"\xff\xff\xff",
    SECRET[:-3] + "é€".encode(),
    SECRET + b"\x00",
    SECRET + b"\r\nx: y",
    b"\xff" * 100,
    *[b"Bearer " + Random(seed).randbytes(40) for seed in range(100)],  # noqa: S311  # no secret
]
"""Values of ``authorization``."""


async def test_bytes_that_are_no_text_are_no_credentials(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are refused as any other bad key is, and the connection goes on."""
    monkeypatch.setattr(failures, "MAX_DELAY", 0.0)
    wire = await serve(config_with(KEY), providers={"echo": EchoProvider()})
    async with RawConnection(wire.server.address) as connection, asyncio.timeout(30):

        async def status(metadata: list[tuple[str, bytes]]) -> bytes:
            stream = connection.call(WHO_AM_I, metadata)
            await connection.send(stream, message(b""), end=True)
            _, _, rest = (await connection.ended(stream)).partition(b"grpc-status")
            return rest[1 : 1 + rest[0]]

        for value in ODD:
            assert await status([("authorization", value)]) == b"16", value
        for value in ODD[:-100]:
            assert await status([("authorization", SECRET), ("traceparent", value), ("x-odd", value)]) == b"0", value
