"""A site to chat on, with aiohttp.

Run ``python aiohttp_chat.py`` and open http://127.0.0.1:8000.
When it is stopped it cuts its streams, and browsers go on when it is there again.
"""

import os
from pathlib import Path

from aiohttp import web

from mcp_client.integrations.aiohttp import WebChat

PAGE = Path(__file__).with_name("chat.html")


async def page(request: web.Request) -> web.FileResponse:
    return web.FileResponse(PAGE)


def create_app() -> web.Application:
    chat = WebChat(
        session_options={"system_instruction": "You are the guide of a small museum. Be brief.", "ttl": 7 * 24 * 3600},
        secret=os.environ.get("CHAT_SECRET"),
    )

    async def models(request: web.Request) -> web.Response:
        return web.json_response([model.name for model in await chat.client.list_models()])

    app = web.Application()
    chat.init_app(app, prefix="/chat")
    app.router.add_get("/", page)
    app.router.add_get("/models", models)
    return app


if __name__ == "__main__":
    web.run_app(create_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
