"""A site to chat on, with Flask.

Run ``gunicorn --threads 100 --graceful-timeout 1 "flask_chat:create_app()"`` and open http://127.0.0.1:8000.
When it is stopped it cuts its streams after that second, and browsers go on when it is there again.
"""

import os
from pathlib import Path

from flask import Flask, Response, send_file

from mcp_client.integrations.flask import WebChat

PAGE = Path(__file__).with_name("chat.html")

chat = WebChat(
    session_options={"system_instruction": "You are the guide of a small museum. Be brief.", "ttl": 7 * 24 * 3600},
    secret=os.environ.get("CHAT_SECRET"),
)


def create_app() -> Flask:
    app = Flask(__name__)
    chat.init_app(app, prefix="/chat")

    @app.get("/")
    def page() -> Response:
        return send_file(PAGE)

    @app.get("/models")
    def models() -> list[str]:
        return [model.name for model in chat.client.list_models()]

    return app
