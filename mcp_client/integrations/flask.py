"""A chat in a Flask application.

::

    from flask import Flask
    from mcp_client.integrations.flask import WebChat

    chat = WebChat("127.0.0.1:50051")

    def create_app():
        app = Flask(__name__)
        chat.init_app(app, prefix="/chat")
        return app

Each stream occupies a thread while it is open: run the server with enough threads, for example
``gunicorn --threads 100``. On shutdown, gunicorn waits half a minute for open streams; with ``--graceful-timeout 1``
browsers resume sooner.
"""

from __future__ import annotations

import inspect
from typing import Any

import flask
from flask import Response, request

from mcp_client import MCPError, MCPSyncClient
from mcp_client.integrations._web import settings as _settings
from mcp_client.integrations._web import sync_routes
from mcp_client.integrations._web.frames import SyncFrames
from mcp_client.integrations._web.requests import ChatRequest
from mcp_client.integrations._web.responses import problem_response
from mcp_client.integrations._web.visitors import Cookie

__all__ = ["Cookie", "WebChat"]


class WebChat(_settings.WebChatSettings[flask.Request]):
    __doc__ = _settings.WebChatSettings.__doc__

    def init_app(self, app: flask.Flask, *, prefix: str = "/chat") -> None:
        """Add the routes and the error handler.

        ::

            POST prefix            send a message, and stream the answer
            GET prefix             get the latest messages, and the running turn
            GET prefix/<turn>      stream the answer of a turn, or resume it after Last-Event-ID
            DELETE prefix/<turn>   cancel a turn

        One object may serve several applications, and an application several chats, each at a path of its own. A
        :class:`~mcp_client.MCPError` that any view raises becomes the same problem response in JSON as in these routes.
        """
        app.add_url_rule(prefix, f"mcp_chat {prefix}", self._respond, methods=["GET", "POST"])
        app.add_url_rule(f"{prefix}/<turn>", f"mcp_chat_turn {prefix}", self._respond, methods=["GET", "DELETE"])
        app.register_error_handler(MCPError, _problem)

    @property
    def client(self) -> MCPSyncClient:
        """The client of this process, for the application's own views.

        It is created on first use, so that servers can fork before, and closed when the process ends.
        """
        return self.clients.blocking

    def _respond(self, turn: str = "") -> Response:
        parsed = self._parsed(turn)
        outcome = sync_routes.respond(self.client, parsed)
        headers = self.headers(parsed, outcome, secure=request.is_secure)
        if outcome.frames is None:
            return Response(outcome.body, outcome.status, headers)
        response = Response(_chunks(outcome.body, outcome.frames), outcome.status, headers)
        response.call_on_close(outcome.frames.close)
        return response

    def _parsed(self, turn: str) -> ChatRequest:
        starts = request.method == "POST"
        return ChatRequest(
            method=request.method,
            path=request.path,
            turn=turn,
            visitor=self.visitor(
                _resolved(self.session_of), request.cookies, path=f"{request.root_path}{request.path}", turn=turn
            ),
            last_event_id=request.headers.get("Last-Event-ID", ""),
            accept=request.headers.get("Accept", ""),
            content_type=request.headers.get("Content-Type", ""),
            session_options=_resolved(self.session_options) if starts else {},
            turn_options=_resolved(self.turn_options) if starts else {},
            tools=self.tools,
            body=self._body() if starts else b"",  # last: those functions may read it too
        )

    def _body(self) -> bytes | None:
        body = request.stream.read(self.max_body + 1)
        if not body:  # something else has read it, and the request has kept it
            body = request.get_data()
        return body if len(body) <= self.max_body else None


def _chunks(first: bytes, rest: SyncFrames) -> SyncFrames:
    yield first
    yield from rest


def _resolved(setting: Any) -> Any:
    value = setting(request) if callable(setting) else setting
    if inspect.isawaitable(value):
        raise TypeError(f"{setting!r} is asynchronous, which applications in Flask do not support")
    return value


def _problem(error: MCPError) -> Response:
    outcome = problem_response(error)
    return Response(outcome.body, outcome.status, outcome.headers)
