"""The cases in a browser: ``python -m tests.interop.web.browser FOLDER PROTOCOL ADDRESS CASE``.

The page has another origin than the server, as pages have that somebody serves elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from tests.browsers import chromium

FLAGS: Final = ("--disable-dev-shm-usage", "--no-proxy-server")
PAGE: Final = "<!DOCTYPE html><meta charset=utf-8><title>cases</title><script src=page.bundle.js></script>"


def _say(line: object) -> None:
    sys.stdout.write(f"{json.dumps(line)}\n")
    sys.stdout.flush()


async def _pause(what: Any) -> None:
    _say({"pause": what})
    await asyncio.to_thread(sys.stdin.readline)


async def main(folder: Path, protocol: str, address: str, case: str) -> None:
    """Run a case."""

    async def index(_: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", index)
    app.router.add_static("/", folder)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0]
    async with chromium(*FLAGS) as browser:
        page = await browser.new_page()
        await page.expose_function("pause", _pause)
        await page.goto(f"http://{host}:{port}/")
        begin = "([protocol, url, name]) => begin(protocol, url, name)"
        _say(await page.evaluate(begin, [protocol, f"http://{address}", case]))
    await runner.cleanup()


if __name__ == "__main__":
    os.environ.setdefault("NODE_NO_WARNINGS", "1")  # of the driver
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:5]))
