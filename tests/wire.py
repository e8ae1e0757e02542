"""The contract as a generic client sees it: generated stubs, and errors read out of the status details."""

from __future__ import annotations

from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2_grpc

from contextprotocol.v1 import (
    chat_pb2,
    chat_pb2_grpc,
    completion_pb2_grpc,
    embedding_pb2_grpc,
    key_pb2_grpc,
    message_pb2,
    model_pb2_grpc,
    session_pb2,
    session_pb2_grpc,
    turn_pb2,
    turn_pb2_grpc,
)
from mcp_server.app import UnifiedMCPServer


class Wire:
    """All stubs on one channel."""

    def __init__(self, server: UnifiedMCPServer, channel: grpc.aio.Channel) -> None:
        self.server = server
        self.channel = channel
        self.sessions: Any = session_pb2_grpc.SessionServiceStub(channel)
        self.chat: Any = chat_pb2_grpc.ChatServiceStub(channel)
        self.completion: Any = completion_pb2_grpc.CompletionServiceStub(channel)
        self.embedding: Any = embedding_pb2_grpc.EmbeddingServiceStub(channel)
        self.models: Any = model_pb2_grpc.ModelServiceStub(channel)
        self.keys: Any = key_pb2_grpc.KeyServiceStub(channel)
        self.turns: Any = turn_pb2_grpc.TurnServiceStub(channel)
        self.health: Any = health_pb2_grpc.HealthStub(channel)

    async def create(self, session_id: str = "tour", **fields: Any) -> session_pb2.Session:
        """Begin a session."""
        request = session_pb2.CreateSessionRequest(session_id=session_id, session=session_pb2.Session(**fields))
        session: session_pb2.Session = await self.sessions.CreateSession(request)
        return session

    async def say(self, text: str, session: str = "sessions/tour", **fields: Any) -> chat_pb2.ChatResponse:
        """One chat."""
        request = chat_pb2.ChatRequest(session=session, messages=[user(text)], **fields)
        response: chat_pb2.ChatResponse = await self.chat.Chat(request)
        return response

    async def history(self, session: str = "sessions/tour", **fields: Any) -> list[tuple[str, str]]:
        """The role and the text of each message."""
        listed = await self.sessions.ListMessages(session_pb2.ListMessagesRequest(parent=session, **fields))
        return [(message_pb2.Role.Name(m.role).removeprefix("ROLE_"), text_of(m)) for m in listed.messages]


class Refused:
    """Expects a call to be refused: ``with Refused() as refused`` leaves ``code``, ``reason`` … behind."""

    code: grpc.StatusCode
    details: str
    reason: str
    metadata: dict[str, str]
    violations: dict[str, str]
    retry_after: float | None
    quota: str
    """Whom the quota binds that is used up, or empty."""
    trailers: dict[str, str | bytes]

    def __enter__(self) -> Refused:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        assert error is not None, "the call was not refused"
        if not isinstance(error, grpc.aio.AioRpcError):
            return False
        self.code, self.details = error.code(), error.details() or ""
        self.trailers = dict(error.trailing_metadata() or ())
        self.reason, self.metadata, self.violations, self.retry_after = "", {}, {}, None
        self.quota = ""
        status = status_pb2.Status.FromString(self.trailers.get("grpc-status-details-bin", b""))  # type: ignore[arg-type]  # it is bytes
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            bad = error_details_pb2.BadRequest()
            retry = error_details_pb2.RetryInfo()
            quota = error_details_pb2.QuotaFailure()
            if detail.Unpack(info):
                assert info.domain == "contextprotocol"
                self.reason, self.metadata = info.reason, dict(info.metadata)
            elif detail.Unpack(bad):
                self.violations = {v.field: v.description for v in bad.field_violations}
            elif detail.Unpack(quota):
                self.quota = quota.violations[0].subject
            elif detail.Unpack(retry):
                self.retry_after = retry.retry_delay.ToTimedelta().total_seconds()
        return True


async def collect(stream: Any, *, into: list[turn_pb2.TurnEvent] | None = None) -> list[turn_pb2.TurnEvent]:
    """All events of a stream; with ``into`` also what came before a failure."""
    events = [] if into is None else into
    while (event := await stream.read()) is not grpc.aio.EOF:
        events.append(event)
    return events


def user(text: str) -> message_pb2.Message:
    """A USER message."""
    return message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text=text)])


def text_of(message: message_pb2.Message) -> str:
    """The text of a message."""
    return "".join(part.text for part in message.parts)


def deltas(events: list[turn_pb2.TurnEvent]) -> str:
    """The text of a stream."""
    return "".join(event.delta.text for event in events)
