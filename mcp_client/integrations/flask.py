"""A chat in a Flask application.

::

    from flask import Flask
    from mcp_client.integrations.flask import WebChat

    chat = WebChat("127.0.0.1:50051")

    def create_app():
        app = Flask(__name__)
        chat.init_app(app, prefix="/chat")
        return app

Each stream takes a thread for as long as it lasts: serve this with threads enough, for example
``gunicorn --threads 100``. One that stops waits for its streams, gunicorn for half a minute: with
``--graceful-timeout 1`` browsers go on sooner, when it is there again.
"""

from __future__ import annotations

import inspect
from typing import Any

import flask
from flask import Response, request

from mcp_client import MCPError, MCPSyncClient
from mcp_client.integrations import _sync_chat, _web
from mcp_client.integrations._clients import Clients
from mcp_client.integrations._web import Call, Cookie, SyncFrames, Visitor

__all__ = ["Cookie", "WebChat"]


class WebChat(_web.Settings[flask.Request]):
    __doc__ = _web.Settings.__doc__

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._clients = Clients(self.address, self.client_options)

    def init_app(self, app: flask.Flask, *, prefix: str = "/chat") -> None:
        """Add the routes and the answers to errors. One object may serve several applications.

        ::

            POST prefix            says something, and streams the answer
            GET prefix             the newest messages, and the turn that runs
            GET prefix/<turn>      streams the answer of a turn, or goes on with it behind Last-Event-ID
            DELETE prefix/<turn>   stops a turn

        Any view that raises a :class:`~mcp_client.MCPError` answers with the same problems in JSON as these.
        """
        app.add_url_rule(prefix, "mcp_chat", self._respond, methods=["GET", "POST"])
        app.add_url_rule(f"{prefix}/<turn>", "mcp_chat_turn", self._respond, methods=["GET", "DELETE"])
        app.register_error_handler(MCPError, _problem)

    @property
    def client(self) -> MCPSyncClient:
        """The client of this process, for views of the application's own.

        It is made at its first use, so that servers may fork before, and closed when the process ends.
        """
        return self._clients.blocking

    def _respond(self, turn: str = "") -> Response:
        call = self._call(turn)
        outcome = _sync_chat.respond(self.client, call)
        headers = self.headers(call, outcome, secure=request.is_secure)
        if outcome.frames is None:
            return Response(outcome.body, outcome.status, headers)
        response = Response(_chunks(outcome.body, outcome.frames), outcome.status, headers)
        response.call_on_close(outcome.frames.close)
        return response

    def _call(self, turn: str) -> Call:
        session = _resolved(self.session_of)
        begins = request.method == "POST"
        return Call(
            method=request.method,
            path=request.path,
            turn=turn,
            visitor=Visitor.of_cookie(request.cookies.get(self.cookie.name)) if session is None else Visitor(session),
            last_event_id=request.headers.get("Last-Event-ID", ""),
            accept=request.headers.get("Accept", ""),
            content_type=request.headers.get("Content-Type", ""),
            body=self._body() if begins else b"",
            session_options=_resolved(self.session_options) if begins else {},
            turn_options=_resolved(self.turn_options) if begins else {},
        )

    def _body(self) -> bytes | None:
        body = request.stream.read(self.max_body + 1)
        return body if len(body) <= self.max_body else None


def _chunks(first: bytes, rest: SyncFrames) -> SyncFrames:
    yield first
    yield from rest


def _resolved(given: Any) -> Any:
    found = given(request) if callable(given) else given
    if inspect.isawaitable(found):
        raise TypeError(f"{given!r} is asynchronous, which an application in Flask is not")
    return found


def _problem(error: MCPError) -> Response:
    outcome = _web.problem(error)
    return Response(outcome.body, outcome.status, outcome.headers)
