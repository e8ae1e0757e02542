"""The server that is fuzzed, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from tests.fuzz.tenants import EchoOfEverything, configured
from tests.soak.server import held, serve


async def main(folder: Path) -> None:
    """Serve until standard input ends, and say what the process holds for each line."""
    config, secrets = configured(folder)
    (folder / "secrets.json").write_text(json.dumps(secrets))
    await serve(config, {"echo": EchoOfEverything()}, lambda _: held())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
