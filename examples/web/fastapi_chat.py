"""A site to chat on, with FastAPI.

Run ``uvicorn --factory fastapi_chat:create_app --timeout-graceful-shutdown 1`` and open http://127.0.0.1:8000.
When it is stopped it cuts its streams after that second, and browsers go on when it is there again.
"""

import os
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI
from fastapi.responses import FileResponse

from mcp_client import MCPClient
from mcp_client.integrations.fastapi import WebChat

PAGE = Path(__file__).with_name("chat.html")


def create_app() -> FastAPI:
    chat = WebChat(
        session_options={"system_instruction": "You are the guide of a small museum. Be brief.", "ttl": 7 * 24 * 3600},
        secret=os.environ.get("CHAT_SECRET"),
    )
    app = FastAPI()
    chat.init_app(app, prefix="/chat")

    @app.get("/")
    async def page() -> FileResponse:
        return FileResponse(PAGE)

    @app.get("/models")
    async def models(client: Annotated[MCPClient, Depends(chat.client)]) -> list[str]:
        return [model.name for model in await client.list_models()]

    return app
