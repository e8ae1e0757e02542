"""Channelz, gRPC's own service about the connections of a process, for tools such as ``grpcdebug``."""

from __future__ import annotations

from typing import Any, Final

import grpc

from mcp_server.errors import ConfigError
from mcp_server.interfaces import Call, GRPCService
from mcp_server.rpc.status import PlainStatus

_SCOPE: Final = "operator"
"""Connections of all tenants are listed."""


def channelz_service() -> GRPCService:
    """The service, for callers with the scope ``operator``. Its library is imported only where it is used.

    Raises:
        ConfigError: the extra ``admin`` is not installed.
    """
    try:
        from grpc_channelz.v1 import channelz, channelz_pb2
    except ModuleNotFoundError as error:
        raise ConfigError(
            "server.channelz: channelz is not installed: pip install 'contextprotocol[admin]', or set it to false"
        ) from error
    descriptor = channelz_pb2.DESCRIPTOR.services_by_name["Channelz"]
    return GRPCService(
        descriptor=descriptor, implementation=Channelz(channelz.ChannelzServicer, descriptor), scope=_SCOPE
    )


class Channelz:
    """The methods of gRPC's implementation, as this server calls them.

    Args:
        servicer: gRPC's implementation. Its methods only read counters of this process.
        descriptor: the description of the service.
    """

    def __init__(self, servicer: Any, descriptor: Any) -> None:
        for method in descriptor.methods:
            setattr(self, method.name, _answer(getattr(servicer, method.name)))


def _answer(method: Any) -> Any:
    async def answer(call: Call, request: Any) -> Any:
        outcome = _Outcome()
        response = method(request, outcome)
        if response is None:
            raise PlainStatus(outcome.code, outcome.details)
        return response

    return answer


class _Outcome:
    """What gRPC's implementation takes for the context of a call."""

    code = grpc.StatusCode.INTERNAL
    details = ""

    def set_code(self, code: grpc.StatusCode) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.details = details
