"""The command line ``mcp-client``, which the extra ``cli`` installs."""

from __future__ import annotations

import importlib.util
import sys
from typing import Final

_LIBRARIES: Final = ("platformdirs", "prompt_toolkit", "rich", "typer")


def main() -> None:
    """Run the command line."""
    if missing := [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]:
        print(f"mcp-client needs {', '.join(missing)}: pip install 'contextprotocol[cli]'", file=sys.stderr)
        raise SystemExit(1)
    from mcp_client.cli.commands import app
    from mcp_client.cli.terminal import replace_unknown_characters

    replace_unknown_characters()
    app()
