"""Which scope each method requires."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from mcp_server.errors import ConfigError
from mcp_server.interfaces import GRPCService
from mcp_server.values import SCOPES

Rule = frozenset[str] | None
"""The scopes of which a caller needs one; empty: any valid credentials will do; ``None``: open to everyone."""

ANY_PRINCIPAL: Final[Rule] = frozenset()
OPEN: Final[Rule] = None

_CHAT: Final = frozenset({"chat"})
_READ: Final = frozenset({"sessions.read"})
_WRITE: Final = frozenset({"sessions.write"})
_MODELS: Final = frozenset({"models"})
_USAGE: Final = frozenset({"usage"})
_ADMIN: Final = frozenset({"admin"})
_OPERATOR: Final = frozenset({"operator"})

_SERVICES: Final[Mapping[str, Mapping[str, Rule]]] = {
    "contextprotocol.v1.ChatService": {"Chat": _CHAT, "StreamChat": _CHAT},
    "contextprotocol.v1.CompletionService": {"Complete": _CHAT, "StreamComplete": _CHAT},
    "contextprotocol.v1.EmbeddingService": {"Embed": _CHAT},
    "contextprotocol.v1.KeyService": {
        "CreateKey": _ADMIN,
        "GetKey": _ADMIN,
        "ListKeys": _ADMIN,
        "UpdateKey": _ADMIN,
        "RevokeKey": _ADMIN,
        "WhoAmI": ANY_PRINCIPAL,
    },
    "contextprotocol.v1.ModelService": {
        "ListModels": _MODELS,
        "GetModel": _MODELS,
        "CountTokens": _MODELS,
    },
    "contextprotocol.v1.SessionService": {
        "CreateSession": _WRITE,
        "GetSession": _READ,
        "ListSessions": _READ,
        "UpdateSession": _WRITE,
        "DeleteSession": _WRITE,
        "ForkSession": _WRITE,
        "ListMessages": _READ,
        "AppendMessages": _WRITE,
        "RewindSession": _WRITE,
        "WatchSession": _READ,
    },
    "contextprotocol.v1.TurnService": {
        "GetTurn": _READ,
        "ListTurns": _READ,
        "StreamTurn": _CHAT | _READ,
        "CancelTurn": _CHAT,
    },
    "contextprotocol.v1.UsageService": {"QueryUsage": _USAGE},
    "anthropic.v1": {
        "CreateMessage": _CHAT,
        "CountTokens": _MODELS,
        "ListModels": _MODELS,
        "GetModel": _MODELS,
    },
    "openai.v1": {
        "CreateChatCompletion": _CHAT,
        "CreateCompletion": _CHAT,
        "CreateEmbedding": _CHAT,
        "ListModels": _MODELS,
        "RetrieveModel": _MODELS,
        "CreateResponse": _CHAT,
        "GetResponse": _READ,
        "StreamResponse": _CHAT | _READ,
        "CancelResponse": _CHAT,
        "DeleteResponse": _WRITE,
        "ListInputItems": _READ,
        "CountResponseTokens": _MODELS,
        "CompactResponse": ANY_PRINCIPAL,
        "CreateConversation": _WRITE,
        "GetConversation": _READ,
        "UpdateConversation": _WRITE,
        "DeleteConversation": _WRITE,
        "ListConversationItems": _READ,
        "CreateConversationItems": _WRITE,
        "GetConversationItem": _READ,
        "DeleteConversationItem": _WRITE,
    },
    # The pages of the admin port that are not open.
    "admin": {"/debug/turns": _OPERATOR, "/debug/models": _OPERATOR, "/metrics": _OPERATOR},
    # Check and Watch of a provider need `models`, which only the service itself can tell from the request.
    "grpc.health.v1.Health": {"Check": OPEN, "Watch": OPEN, "List": _MODELS},
    "grpc.reflection.v1.ServerReflection": {"ServerReflectionInfo": ANY_PRINCIPAL},
    "grpc.reflection.v1alpha.ServerReflection": {"ServerReflectionInfo": ANY_PRINCIPAL},
}

RULES: Final[Mapping[tuple[str, str], Rule]] = MappingProxyType(
    {(service, method): rule for service, methods in _SERVICES.items() for method, rule in methods.items()}
)
"""The rule of every method of the server's own services, by the full name of the service and the name of the method. A
method without a rule cannot be called while there is authentication."""


def rules(services: Iterable[GRPCService]) -> dict[tuple[str, str], Rule]:
    """:data:`RULES`, and the rules of further services.

    Raises:
        ConfigError: a service declares a scope that does not exist.
    """
    found = dict(RULES)
    for service in services:
        name = service.descriptor.full_name
        if service.scope and service.scope not in SCOPES:
            raise ConfigError(
                f"the gRPC service {name} declares the scope {service.scope!r}; expected one of {', '.join(SCOPES)}"
            )
        rule = frozenset({service.scope}) if service.scope else ANY_PRINCIPAL
        found.update({(name, method.name): rule for method in service.descriptor.methods})
    return found
