"""Every RPC of the server, with a request that names what belongs to one tenant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from contextprotocol.v1 import (
    chat_pb2,
    completion_pb2,
    embedding_pb2,
    key_pb2,
    message_pb2,
    model_pb2,
    session_pb2,
    turn_pb2,
    usage_pb2,
)
from mcp_server.rpc.reflection import reflection_services
from tests.costly import CONTRACT
from tests.wire import user


class Names(NamedTuple):
    """What belongs to a tenant."""

    session: str
    turn: str
    free_turn: str
    key: str

    def unknown(self) -> Names:
        """Names of the same length that nobody has."""
        nothing = "t" + "0" * (len(self.free_turn) - len("turns/t"))
        return Names("sessions/none", f"sessions/none/turns/{nothing}", f"turns/{nothing}", "keys/000000000000")


class Case(NamedTuple):
    """How an RPC is called."""

    request: Callable[[Names], Message]
    """A valid request."""
    scopes: frozenset[str]
    """The scopes of which one is enough; empty: any valid credentials will do."""
    foreign: str = ""
    """The reason of the error for a resource of another tenant; empty: the request names none."""
    open: bool = False
    """Whether everybody may call it."""
    model: bool = False
    """Whether it uses a model."""


def _assistant(text: str) -> message_pb2.Message:
    return message_pb2.Message(role=message_pb2.ROLE_ASSISTANT, parts=[message_pb2.Part(text=text)])


def _key(name: str) -> key_pb2.UpdateKeyRequest:
    request = key_pb2.UpdateKeyRequest(key=key_pb2.Key(name=name, display_name="changed"))
    request.update_mask.paths.append("display_name")
    return request


def _update(name: str) -> session_pb2.UpdateSessionRequest:
    request = session_pb2.UpdateSessionRequest(session=session_pb2.Session(name=name, labels={"seen": "yes"}))
    request.update_mask.paths.append("labels")
    return request


_CHAT = frozenset({"chat"})
_READ = frozenset({"sessions.read"})
_WRITE = frozenset({"sessions.write"})
_MODELS = frozenset({"models"})
_ADMIN = frozenset({"admin"})
_ANY: frozenset[str] = frozenset()
_SESSION, _TURN, _KEY = "SESSION_NOT_FOUND", "TURN_NOT_FOUND", "KEY_NOT_FOUND"

CASES = {
    "contextprotocol.v1.ChatService": {
        "Chat": Case(
            lambda its: chat_pb2.ChatRequest(session=its.session, messages=[user("hi")]), _CHAT, _SESSION, model=True
        ),
        "StreamChat": Case(
            lambda its: chat_pb2.ChatRequest(session=its.session, messages=[user("hi")]), _CHAT, _SESSION, model=True
        ),
    },
    "contextprotocol.v1.CompletionService": {
        "Complete": Case(
            lambda its: completion_pb2.CompleteRequest(session=its.session, prompt="hi"), _CHAT, _SESSION, model=True
        ),
        "StreamComplete": Case(
            lambda its: completion_pb2.CompleteRequest(session=its.session, prompt="hi"), _CHAT, _SESSION, model=True
        ),
    },
    "contextprotocol.v1.EmbeddingService": {
        "Embed": Case(
            lambda its: embedding_pb2.EmbedRequest(session=its.session, inputs=["hi"]), _CHAT, _SESSION, model=True
        ),
    },
    "contextprotocol.v1.KeyService": {
        "CreateKey": Case(lambda its: key_pb2.CreateKeyRequest(key=key_pb2.Key(scopes=["admin"])), _ADMIN),
        "GetKey": Case(lambda its: key_pb2.GetKeyRequest(name=its.key), _ADMIN, _KEY),
        "ListKeys": Case(lambda its: key_pb2.ListKeysRequest(), _ADMIN),
        "UpdateKey": Case(lambda its: _key(its.key), _ADMIN, _KEY),
        "RevokeKey": Case(lambda its: key_pb2.RevokeKeyRequest(name=its.key), _ADMIN, _KEY),
        "WhoAmI": Case(lambda its: key_pb2.WhoAmIRequest(), _ANY),
    },
    "contextprotocol.v1.ModelService": {
        "ListModels": Case(lambda its: model_pb2.ListModelsRequest(), _MODELS),
        "GetModel": Case(lambda its: model_pb2.GetModelRequest(name="models/echo/echo"), _MODELS, model=True),
        "CountTokens": Case(
            lambda its: model_pb2.CountTokensRequest(session=its.session, messages=[user("hi")]),
            _MODELS,
            _SESSION,
            model=True,
        ),
    },
    "contextprotocol.v1.SessionService": {
        "CreateSession": Case(lambda its: session_pb2.CreateSessionRequest(), _WRITE),
        "GetSession": Case(lambda its: session_pb2.GetSessionRequest(name=its.session), _READ, _SESSION),
        "ListSessions": Case(lambda its: session_pb2.ListSessionsRequest(), _READ),
        "UpdateSession": Case(lambda its: _update(its.session), _WRITE, _SESSION),
        "DeleteSession": Case(lambda its: session_pb2.DeleteSessionRequest(name=its.session), _WRITE, _SESSION),
        "ForkSession": Case(lambda its: session_pb2.ForkSessionRequest(name=its.session), _WRITE, _SESSION),
        "ListMessages": Case(lambda its: session_pb2.ListMessagesRequest(parent=its.session), _READ, _SESSION),
        "AppendMessages": Case(
            lambda its: session_pb2.AppendMessagesRequest(parent=its.session, messages=[user("a"), _assistant("b")]),
            _WRITE,
            _SESSION,
        ),
        "RewindSession": Case(
            lambda its: session_pb2.RewindSessionRequest(name=its.session, message_count=2), _WRITE, _SESSION
        ),
        "WatchSession": Case(lambda its: session_pb2.WatchSessionRequest(name=its.session), _READ, _SESSION),
    },
    "contextprotocol.v1.TurnService": {
        "GetTurn": Case(lambda its: turn_pb2.GetTurnRequest(name=its.turn), _READ, _TURN),
        "ListTurns": Case(lambda its: turn_pb2.ListTurnsRequest(parent=its.session), _READ, _SESSION),
        "StreamTurn": Case(lambda its: turn_pb2.StreamTurnRequest(name=its.free_turn), _CHAT | _READ, _TURN),
        "CancelTurn": Case(lambda its: turn_pb2.CancelTurnRequest(name=its.turn), _CHAT, _TURN),
    },
    "contextprotocol.v1.UsageService": {
        "QueryUsage": Case(lambda its: usage_pb2.QueryUsageRequest(), frozenset({"usage"})),
    },
    "grpc.health.v1.Health": {
        "Check": Case(lambda its: health_pb2.HealthCheckRequest(), _ANY, open=True),
        "Watch": Case(lambda its: health_pb2.HealthCheckRequest(), _ANY, open=True),
        "List": Case(lambda its: health_pb2.HealthListRequest(), _MODELS),
    },
    "grpc.reflection.v1.ServerReflection": {
        "ServerReflectionInfo": Case(lambda its: reflection_pb2.ServerReflectionRequest(list_services="*"), _ANY)
    },
    "grpc.reflection.v1alpha.ServerReflection": {
        "ServerReflectionInfo": Case(lambda its: reflection_pb2.ServerReflectionRequest(list_services="*"), _ANY)
    },
}
"""Every RPC, by service and method."""


def served() -> list[ServiceDescriptor]:
    """The descriptors of everything in the contract, of health and of reflection."""
    contract = [service for file in CONTRACT for service in file.DESCRIPTOR.services_by_name.values()]
    health = health_pb2.DESCRIPTOR.services_by_name["Health"]
    return [*contract, health, *[service.descriptor for service in reflection_services([*contract, health])]]


def rpcs() -> Iterator[tuple[MethodDescriptor, Case]]:
    """Every RPC that has a case."""
    for service in served():
        for method in service.methods:
            case = CASES.get(service.full_name, {}).get(method.name)
            if case is not None:
                yield method, case
