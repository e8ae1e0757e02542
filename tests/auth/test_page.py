"""What docs/authentication-jwt.md shows works as written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mcp_server.settings import AuthSettings, Config, load
from mcp_server.settings import testing_config as settings
from mcp_server.testing import EchoProvider, running
from tests.middleware.jwt.issuer import NOW, Signer, jwks, key_server
from tests.middleware.jwt.issuer import settings as issuer
from tests.pages import blocks

PAGE = Path(__file__).parents[2] / "docs" / "authentication-jwt.md"


def test_the_settings_of_the_page_are_valid(tmp_path: Path) -> None:
    """All of them together are one file."""
    file = tmp_path / "contextprotocol.toml"
    file.write_text("\n".join(blocks(PAGE, "toml")))
    auth = load(file, {}).auth
    assert list(auth.jwt) == ["corp", "partners"]
    assert auth.jwt["partners"].scope_map["accounting"] == ("usage",)
    assert len(auth.certificates) == 2


async def test_the_client_of_the_page_sends_its_token() -> None:
    """And is answered."""
    names: dict[str, Any] = {}
    exec(compile("\n".join(blocks(PAGE)), PAGE.name, "exec"), names)  # noqa: S102  # it is our own page
    async with key_server(jwks(Signer())) as keys:
        auth = AuthSettings(jwt={"corp": issuer(jwks_url=keys.url)})
        base = settings(default_model="echo/echo")
        config = Config(**{name: getattr(base, name) for name in base.__struct_fields__} | {"auth": auth})
        arguments: dict[str, Any] = {"providers": {"echo": EchoProvider()}, "clock": lambda: NOW * 10**9}
        async with running(config, **arguments) as server:
            assert await names["ask"](server.address, Signer().token(scope="chat")) == "Who am I?"
    assert names["credentials"].server_name == ""
