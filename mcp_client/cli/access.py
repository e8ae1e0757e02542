"""The commands ``mcp-client whoami`` and ``mcp-client usage``."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final

import typer

from mcp_client import Caller, MCPClient, UsageRow
from mcp_client.cli.connection import Connection, connecting
from mcp_client.cli.failures import MISUSED, fail, pairs
from mcp_client.cli.options import AsJson
from mcp_client.cli.output import amount, local_time, print_json, print_table
from mcp_client.cli.run import run_client
from mcp_client.cli.terminal import printable

_COUNTS: Final = (
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
)
_PAGE: Final = 1000


@connecting
def whoami(as_json: AsJson = False, *, connection: Connection) -> None:
    """Show who you are to the server, what you may do, and what is left of your limits."""

    async def run(client: MCPClient) -> None:
        caller = await client.whoami()
        if as_json:
            print_json(caller)
            return
        _print_caller(caller)

    run_client(connection, run)


@connecting
def usage(
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ITEM",
            help="What to distinguish: tenant, key, provider, model, session, hour, day, or label:NAME; can be "
            "repeated. Default: provider and model.",
            show_default=False,
        ),
    ] = None,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="The beginning, for example 2026-11-01 or 2026-11-01T12:00Z.")
    ] = "",
    until: Annotated[str, typer.Option(metavar="TIME", help="The end, which is not part of the period.")] = "",
    tenant: Annotated[str, typer.Option(metavar="NAME", help="Of this tenant; *: of all.", show_default=False)] = "",
    key: Annotated[str, typer.Option(metavar="ID", help="Only of this API key.", show_default=False)] = "",
    provider: Annotated[str, typer.Option(metavar="NAME", help="Only of this provider.", show_default=False)] = "",
    model: Annotated[
        str, typer.Option(metavar="NAME", help="Only of this model, by the provider's name.", show_default=False)
    ] = "",
    session: Annotated[str, typer.Option(metavar="NAME", help="Only of this session.", show_default=False)] = "",
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Only of calls with this label; can be repeated.", show_default=False),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, with all counts.")] = False,
    as_json: AsJson = False,
    *,
    connection: Connection,
) -> None:
    """Show what was used and what it cost. Times without an offset are local."""
    if as_csv and as_json:
        fail("--csv and --json: choose one", MISUSED)
    groups = by or ["provider", "model"]
    labels = pairs(label, "--label")
    start, end = _time("--since", since), _time("--until", until)

    async def run(client: MCPClient) -> None:
        rows = [
            row
            async for row in client.query_usage(
                start_time=start,
                end_time=end,
                group_by=groups,
                tenant=tenant,
                key=key or None,
                provider=provider,
                model=model,
                session=session or None,
                labels=labels,
                page_size=_PAGE,
            )
        ]
        if as_json:
            print_json(rows)
        elif as_csv:
            _print_csv(groups, rows)
        else:
            _print_usage(groups, rows)

    run_client(connection, run)


def _print_caller(caller: Caller) -> None:
    for name, value in (
        ("tenant", caller.tenant),
        ("key", caller.key or "none"),
        ("scopes", ", ".join(caller.scopes) or "none"),
        ("models", ", ".join(caller.models) or "all"),
    ):
        print(printable(f"{name}: {value}"))
    if caller.limits:
        print_table(
            ("LIMIT", "OF", "ALLOWED", "USED", "REMAINING", "RESET"),
            [
                (
                    state.limit,
                    state.subject,
                    amount(state.allowed),
                    amount(state.used),
                    amount(state.remaining),
                    local_time(state.reset_time) if state.reset_time else "",
                )
                for state in caller.limits
            ],
        )


def _print_usage(groups: Sequence[str], rows: Sequence[UsageRow]) -> None:
    print_table(
        (*[item.upper() for item in groups], "TURNS", "ATTEMPTS", "INPUT", "OUTPUT", "COST"),
        [
            (
                *[row.group.get(item, "") for item in groups],
                str(row.turns),
                str(row.attempts),
                str(row.usage.input_tokens),
                str(row.usage.output_tokens),
                f"{amount(row.cost)} {row.currency}" if row.currency else "",
            )
            for row in rows
        ],
    )


def _print_csv(groups: Sequence[str], rows: Sequence[UsageRow]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([*groups, "turns", "attempts", *_COUNTS, "cost", "currency"])
    for row in rows:
        counts = [getattr(row.usage, name) for name in _COUNTS]
        values = [row.group.get(item, "") for item in groups]
        writer.writerow([*values, row.turns, row.attempts, *counts, amount(row.cost), row.currency])


def _time(option: str, text: str) -> datetime | None:
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{option}: expected a time like 2026-11-01 or 2026-11-01T12:00Z, not {text!r}", MISUSED)
    return time if time.tzinfo is not None else time.astimezone()
