"""``mcp-server certs``: certificates for trying TLS on one's own machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mcp_server.commands.reporting import FAILED, MISUSED, fail, reported

certs = typer.Typer(help="Make certificates for trying TLS.", no_args_is_help=True)

HOSTS = ("localhost", "127.0.0.1", "::1")
"""The names of this machine, for which every server certificate is valid."""
AUTHORITY_DAYS = 3650
"""How long the local authority is valid."""


@certs.callback()
def group() -> None:
    """Make certificates for trying TLS."""


@certs.command()
def dev(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the files are written.", show_default=False)],
    host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A further name or IP address of the server, beside localhost, 127.0.0.1 and ::1. May be repeated.",
            show_default=False,
        ),
    ] = None,
    client: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Make a client certificate too, for this name: a URI, a mail address or any other name.",
            show_default=False,
        ),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=AUTHORITY_DAYS, help="How long the certificates are valid.")] = 90,
) -> None:
    """Make a local certificate authority and a server certificate, for development only.

    Run again, it keeps the authority and replaces the other certificates, as at a renewal.
    """
    with reported():
        try:
            from mcp_server.commands.development_certificates import Authority
        except ModuleNotFoundError:
            fail("certificates need cryptography: pip install 'contextprotocol[server]'", FAILED)
        try:
            folder = folder.absolute()
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            authority = Authority.load_or_make(folder, AUTHORITY_DAYS)
            written = [authority.issue_server([*HOSTS, *(host or ())], days)]
            if client is not None:
                written.append(authority.issue_client(client, days))
        except OSError as error:
            fail(f"{error.filename or folder}: {error.strerror}", FAILED)
        except ValueError as error:
            fail(str(error), MISUSED)
    print(f"authority    {authority.certificate_file}")
    for name, certificate, key in written:
        print(f"{name:<12} {certificate}\n{'':<12} {key}")
    print(f'\n[server.tls]\ncertificate = "{written[0][1]}"\nkey = "{written[0][2]}"')
    if client is not None:
        print(f'client_ca = "{authority.certificate_file}"')
