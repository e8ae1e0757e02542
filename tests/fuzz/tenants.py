"""A server with three tenants, whose callers are fuzzed against each other."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import grpc
import msgspec

from contextprotocol.v1 import chat_pb2, context_pb2, key_pb2, key_pb2_grpc, session_pb2, session_pb2_grpc
from contextprotocol.v1.chat_pb2_grpc import ChatServiceStub
from mcp_server.interfaces import EmbedRequest, GenerateRequest, ProviderEvent
from mcp_server.settings import Config, MetricsSettings, SessionSettings, TurnSettings
from mcp_server.stores.sqlite.settings import SQLiteSettings
from mcp_server.testing import EchoProvider
from mcp_server.values import SCOPES, Capabilities, Embeddings, Model
from tests.auth.keys import Metadata, bearer, config_with, new_key
from tests.auth.rpcs import Names
from tests.wire import text_of, user

MARKER: Final = "amaranth"
"""Stands in everything that belongs to the tenant red, and is never sent by anybody else."""
TEN_YEARS: Final = 10 * 365 * 86_400


class EchoOfEverything:
    """Echoes, and claims every capability, so that requests with tools, images and schemas reach a model."""

    def __init__(self) -> None:
        self._echo = EchoProvider()

    async def models(self) -> Sequence[Model]:
        every = Capabilities(
            chat=True, completion=True, embedding=True, tools=True, images=True, json_schema=True, prefill=True
        )
        return [Model(name="echo", capabilities=every, context_window=100_000, embedding_dimensions=26)]

    def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        return self._echo.generate(request)

    async def embed(self, request: EmbedRequest, /) -> Embeddings:
        return await self._echo.embed(request)

    async def close(self) -> None: ...


def configured(folder: Path) -> tuple[Config, dict[str, str]]:
    """The settings of such a server, and the secret of each tenant's key."""
    keys = {tenant: new_key(tenant, [each for each in SCOPES if each != "operator"]) for tenant in ("red", "blue")}
    keys["green"] = new_key("green")
    config = msgspec.structs.replace(
        config_with(*keys.values(), stored_keys=True, first_key_file=folder / "first-key"),
        store=SQLiteSettings(path=folder / "sessions.db"),
        sessions=SessionSettings(default_ttl=30, sweep_interval=1),
        turns=TurnSettings(retention=30, timeout=5, disconnect_grace=0.3),
        metrics=MetricsSettings(address="127.0.0.1:0"),
    )
    return config, {tenant: key.secret for tenant, key in keys.items()}


class Party(NamedTuple):
    """Who calls, and what they may not see."""

    credentials: Metadata
    operator: bool

    def marker(self, path: str) -> bytes:
        """What must not be in an answer to them. Operators see the keys and the usage of every tenant."""
        seen = self.operator and path.startswith(
            ("/contextprotocol.v1.KeyService/", "/contextprotocol.v1.UsageService/")
        )
        return b"" if seen else MARKER.encode()


class Tenants:
    """What the tenants own on the server behind a channel.

    Args:
        channel: to the server.
        secrets: of each tenant's key.
    """

    def __init__(self, channel: grpc.aio.Channel, secrets: Mapping[str, str]) -> None:
        self._sessions: Any = session_pb2_grpc.SessionServiceStub(channel)
        self._chat: Any = ChatServiceStub(channel)
        self._keys: Any = key_pb2_grpc.KeyServiceStub(channel)
        self._red = bearer(secrets["red"])
        self._blue = bearer(secrets["blue"])
        blue, operator = Party(self._blue, operator=False), Party(bearer(secrets["green"]), operator=True)
        self.parties = (blue, blue, blue, operator)
        """Who calls, the more often the more of the names are theirs."""
        self.names: list[Names] = []
        """What belongs to blue, and what belongs to red and has names that others know."""

    async def furnish(self) -> None:
        """Give red a session, turns and a key that are full of the marker, and blue some without it."""
        for session_id in ("crimson", f"{MARKER}-1"):
            session = session_pb2.Session(
                labels={"of": MARKER},
                system_instruction=MARKER,
                context={MARKER: context_pb2.ContextEntry(type="text", text=MARKER)},
            )
            session.metadata["of"] = MARKER
            session.ttl.seconds = TEN_YEARS
            request = session_pb2.CreateSessionRequest(session_id=session_id, session=session)
            await self._sessions.CreateSession(request, metadata=self._red)
        red = await self._owned(self._red, "sessions/crimson", MARKER)
        self.names = [await self._owned(self._blue, "", "blue"), red]

    async def canary(self) -> None:
        """See that the server answers and that red's history is as it was, and renew what blue owns."""
        self.names[0] = await self._owned(self._blue, "", "blue")
        request = session_pb2.ListMessagesRequest(parent="sessions/crimson")
        history = await self._sessions.ListMessages(request, metadata=self._red, timeout=20)
        assert [text_of(message) for message in history.messages] == [MARKER, MARKER]

    async def _owned(self, metadata: Metadata, session: str, text: str) -> Names:
        """Chat in a session, a new one if none is named, and without one; make a key."""
        if not session:
            request = session_pb2.CreateSessionRequest()
            session = (await self._sessions.CreateSession(request, metadata=metadata, timeout=20)).name
        turns = []
        for where in (session, ""):
            chat = chat_pb2.ChatRequest(session=where, messages=[user(text)], labels={"of": text}, model="echo/echo")
            turns.append((await self._chat.Chat(chat, metadata=metadata, timeout=20)).turn)
        key = key_pb2.Key(display_name=text, scopes=["chat"], labels={"of": text})
        created = await self._keys.CreateKey(key_pb2.CreateKeyRequest(key=key), metadata=metadata, timeout=20)
        return Names(session, turns[0], turns[1], created.key.name)


def secrets_of(folder: Path) -> dict[str, str]:
    """The secrets that a server in another process has left in its folder."""
    secrets: dict[str, str] = json.loads((folder / "secrets.json").read_text())
    return secrets
