"""Google's own client for gRPC-Web, in a browser."""

from __future__ import annotations

import pytest

from tests.conftest import Serve
from tests.interop.languages import LANGUAGES
from tests.interop.programs import started

LANGUAGE = next(language for language in LANGUAGES if language.id == "grpc_web_browser")


@pytest.mark.parametrize("command", [LANGUAGE], indirect=True)
async def test_a_call_that_succeeds_and_one_that_fails(serve: Serve, command: list[str]) -> None:
    """In binary and in base64, from a page of another origin; an error has its code, its message and its details."""
    wire = await serve()
    async with started([*command[:-1], "grpc-web-client"], wire.server.web_address, "") as program:
        found = await program.found()
    expected = {
        "text": "Grüße",
        "code": 3,
        "message": "messages: must have 1 to 1000 messages, not 0",
        "details": True,
    }
    assert found == {"binary": expected, "text": expected}
