"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="The TOML file with the settings. Default: CONTEXTPROTOCOL_CONFIG, or contextprotocol.toml in the user's "
        "config folder, or none.",
        show_default=False,
    ),
]
