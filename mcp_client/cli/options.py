"""The options and arguments that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

ModelOption = Annotated[
    str,
    typer.Option(
        "--model", "-m", metavar="MODEL", help="An alias or provider/model; default: the server's.", show_default=False
    ),
]
Temperature = Annotated[float | None, typer.Option(metavar="NUMBER", help="0 (greedy) to 2.", show_default=False)]
MaxTokens = Annotated[
    int | None, typer.Option(metavar="TOKENS", help="The maximum length of the answer.", show_default=False)
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="KEY=VALUE",
        help="For whom or what the call is made: its usage carries it; can be repeated.",
        show_default=False,
    ),
]
TurnName = Annotated[
    str,
    typer.Argument(metavar="TURN", help="Its full name: sessions/SESSION/turns/ID, or turns/ID.", show_default=False),
]
Limit = Annotated[int, typer.Option(min=1, help="The maximum number to list, newest first.")]
JSONSchema = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|TEXT",
        help="The answer conforms to this JSON Schema: its text, or the path of a file.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
AlwaysJson = Annotated[bool, typer.Option("--json", help="Print JSON, which this command always does.")]
