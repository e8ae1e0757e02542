"""The connection of a command: its options, and the environment variables that replace omitted ones."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from mcp_client import TLS, MCPClient
from mcp_client._core import defaults
from mcp_client._core.addresses import TLS_SCHEME
from mcp_client._core.retry import OnRetry
from mcp_client.cli.failures import pairs

API_KEY_VARIABLE: Final = "CONTEXTPROTOCOL_API_KEY"
"""The environment variable with the API key, or another bearer token."""
KEY_FILE_VARIABLE: Final = "CONTEXTPROTOCOL_KEY_FILE"
"""The environment variable with the path of a file with the API key, for where the other one is not set."""
CA_VARIABLE: Final = "CONTEXTPROTOCOL_CA"
"""The environment variable with the path of the trusted authorities' certificates."""
CERTIFICATE_VARIABLE: Final = "CONTEXTPROTOCOL_CERTIFICATE"
"""The environment variable with the path of the client's certificate chain, for servers that require one."""
CERTIFICATE_KEY_VARIABLE: Final = "CONTEXTPROTOCOL_CERTIFICATE_KEY"
"""The environment variable with the path of the private key of that certificate."""

_PANEL: Final = "Connection"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """How a command reaches its server."""

    server: str
    """The address; ``https://HOST:PORT``: with TLS."""
    tls: bool = False
    ca: str | None = None
    """The path of the trusted authorities' certificates; it implies TLS, and so does ``cert``."""
    cert: str | None = None
    cert_key: str | None = None
    token: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)

    def client(self, on_retry: OnRetry | None) -> MCPClient:
        """A client of the server.

        Args:
            on_retry: called before each retry.

        Raises:
            ValueError: an option or a variable cannot be used.
        """
        return MCPClient(
            self.server,
            api_key=self.token if self.token is not None else _api_key(),
            metadata=self.headers,
            credentials=self._credentials(),
            on_retry=on_retry,
        )

    def _credentials(self) -> TLS | None:
        ca, cert, cert_key = [
            option if option is not None else _path(variable)
            for option, variable in (
                (self.ca, CA_VARIABLE),
                (self.cert, CERTIFICATE_VARIABLE),
                (self.cert_key, CERTIFICATE_KEY_VARIABLE),
            )
        ]
        if (cert is None) != (cert_key is None):
            raise ValueError(
                f"--cert ({CERTIFICATE_VARIABLE}) and --key ({CERTIFICATE_KEY_VARIABLE}): expected both or none"
            )
        encrypted = self.tls or bool(self.ca or self.cert) or self.server.startswith(TLS_SCHEME)
        if not encrypted and (ca or cert):
            raise ValueError(
                f"{CA_VARIABLE} and {CERTIFICATE_VARIABLE} require TLS: pass --tls, or {TLS_SCHEME}{self.server}"
            )
        if not encrypted:
            return None
        tls = TLS(ca=ca, certificate=cert, key=cert_key)
        try:
            tls.credentials()
        except OSError as error:
            variables = f"{CA_VARIABLE}, {CERTIFICATE_VARIABLE} or {CERTIFICATE_KEY_VARIABLE}"
            raise ValueError(f"--ca, --cert, --key, or {variables} cannot be used: {error.strerror}") from error
        return tls


_OPTIONS: Final[dict[str, tuple[Any, Any]]] = {
    "server": (
        Annotated[
            str,
            typer.Option(
                "--server",
                "-s",
                metavar="HOST:PORT",
                envvar=defaults.ADDRESS_VARIABLE,
                help="The address of the server; https://HOST:PORT: with TLS.",
                show_default=True,
                rich_help_panel=_PANEL,
            ),
        ],
        defaults.ADDRESS,
    ),
    "tls": (
        Annotated[bool, typer.Option("--tls", help="Encrypt the connection.", rich_help_panel=_PANEL)],
        False,
    ),
    "ca": (
        Annotated[
            str | None,
            typer.Option(
                metavar="FILE",
                help=f"The certificates of the trusted authorities; implies --tls. Default: {CA_VARIABLE}.",
                show_default=False,
                rich_help_panel=_PANEL,
            ),
        ],
        None,
    ),
    "cert": (
        Annotated[
            str | None,
            typer.Option(
                metavar="FILE",
                help=f"Your certificate, for servers that require one; implies --tls. Default: {CERTIFICATE_VARIABLE}.",
                show_default=False,
                rich_help_panel=_PANEL,
            ),
        ],
        None,
    ),
    "cert_key": (
        Annotated[
            str | None,
            typer.Option(
                "--key",
                "--cert-key",
                metavar="FILE",
                help=f"The private key of that certificate. Default: {CERTIFICATE_KEY_VARIABLE}.",
                show_default=False,
                rich_help_panel=_PANEL,
            ),
        ],
        None,
    ),
    "token": (
        Annotated[
            str | None,
            typer.Option(
                metavar="TOKEN",
                help="An API key, or another bearer token. Other users of this machine can read options: prefer "
                f"{API_KEY_VARIABLE} or {KEY_FILE_VARIABLE}.",
                show_default=False,
                rich_help_panel=_PANEL,
            ),
        ],
        None,
    ),
    "header": (
        Annotated[
            list[str] | None,
            typer.Option(
                metavar="NAME=VALUE",
                help="A header of each call; can be repeated.",
                show_default=False,
                rich_help_panel=_PANEL,
            ),
        ],
        None,
    ),
}
"""The annotation and the default of each option."""


def connecting(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a connection. It receives them as its argument ``connection``."""
    signature = inspect.signature(command, eval_str=True)
    own = [parameter for parameter in signature.parameters.values() if parameter.name != "connection"]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        options = {name: values.pop(name) for name in _OPTIONS}
        headers = pairs(options.pop("header"), "--header", expected="NAME=VALUE")
        command(**values, connection=Connection(**options, headers=headers))

    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in _OPTIONS.items()
    ]
    if "key" in signature.parameters:  # the command means something else by it
        annotation = Annotated[str | None, _renamed(_OPTIONS["cert_key"][0].__metadata__[0], "--cert-key")]
        added = [each.replace(annotation=annotation) if each.name == "cert_key" else each for each in added]
    run.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]  # read by typer
    return run


def _renamed(option: Any, name: str) -> Any:
    """The same option of typer under one other name."""
    return typer.Option(
        name, metavar=option.metavar, help=option.help, show_default=False, rich_help_panel=option.rich_help_panel
    )


def _api_key() -> str | None:
    if key := os.environ.get(API_KEY_VARIABLE):
        return key
    if (path := _path(KEY_FILE_VARIABLE)) is None:
        return None
    try:
        found = Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{KEY_FILE_VARIABLE}: cannot read {path}: {getattr(error, 'strerror', error)}") from error
    if not found:
        raise ValueError(f"{KEY_FILE_VARIABLE}: {path} contains no key")
    return found


def _path(variable: str) -> str | None:
    return os.environ.get(variable) or None
