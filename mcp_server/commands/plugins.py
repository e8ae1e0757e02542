"""``mcp-server plugins``: what the settings may use, and whether it fulfils its contract."""

from __future__ import annotations

from typing import Annotated

import typer

from mcp_server.commands.plugin_checks import check
from mcp_server.commands.reporting import FAILED, reported
from mcp_server.commands.tables import print_json, print_table

plugins = typer.Typer(help="List the plug-ins that settings may use, and check them.", invoke_without_command=True)
plugins.command()(check)


@plugins.callback()
def list_plugins(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the plug-ins that settings may use, and the packages that they come from. Exit with 1 if one cannot be
    loaded."""
    if context.invoked_subcommand is not None:
        return
    with reported():
        from mcp_server.plugins import Registry

        entries = list(Registry().entries())
    if as_json:
        print_json(entries)
    else:
        rows = [
            (one.kind, one.name, one.package or "built in", one.extra, one.problem or one.reference) for one in entries
        ]
        print_table("Plug-ins", ("KIND", "NAME", "FROM", "EXTRA", "OBJECT OR PROBLEM"), rows)
    if any(one.problem for one in entries):
        raise typer.Exit(FAILED)
