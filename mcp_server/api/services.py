"""All services of the contract."""

from __future__ import annotations

from contextprotocol.v1 import (
    chat_pb2,
    completion_pb2,
    embedding_pb2,
    key_pb2,
    model_pb2,
    session_pb2,
    turn_pb2,
    usage_pb2,
)
from mcp_server.api.chat import ChatService
from mcp_server.api.completion import CompletionService
from mcp_server.api.conversions import Conversions
from mcp_server.api.embedding import EmbeddingService
from mcp_server.api.key import KeyService
from mcp_server.api.model import ModelService
from mcp_server.api.paging import PageTokens
from mcp_server.api.session import SessionService
from mcp_server.api.turn import TurnService
from mcp_server.api.usage import UsageService
from mcp_server.gateway import Gateway
from mcp_server.interfaces import GRPCService


def services(gateway: Gateway, tokens: PageTokens, conversions: Conversions) -> list[GRPCService]:
    """The services of the contract.

    Args:
        gateway: carries them out.
        tokens: of the pages of their lists.
        conversions: runs those of large requests and responses.
    """
    implementations = {
        session_pb2: SessionService(gateway, conversions, tokens),
        chat_pb2: ChatService(gateway, conversions),
        completion_pb2: CompletionService(gateway, conversions),
        embedding_pb2: EmbeddingService(gateway),
        turn_pb2: TurnService(gateway, tokens),
        model_pb2: ModelService(gateway, tokens, conversions),
        usage_pb2: UsageService(gateway, tokens),
        key_pb2: KeyService(gateway, tokens),
    }
    return [
        GRPCService(
            descriptor=file.DESCRIPTOR.services_by_name[type(implementation).__name__], implementation=implementation
        )
        for file, implementation in implementations.items()
    ]
