"""A small server of the tests' own, for what a real one does not do on demand."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import grpc
from grpc_health.v1 import health_pb2

from contextprotocol.v1 import chat_pb2, message_pb2, turn_pb2

OK = turn_pb2.TurnEvent(
    sequence=9,
    completed=turn_pb2.TurnCompleted(
        message=message_pb2.Message(role=message_pb2.ROLE_ASSISTANT, parts=[message_pb2.Part(text="ok")]),
        finish_reason=message_pb2.FINISH_REASON_STOP,
    ),
)
"""The end of an answer."""


class StandIn:
    """Answers health checks, and chats with the events that it was given.

    Args:
        credentials: of a secure port; ``None``: the port is not secure.
        events: of each chat; bytes are sent as they are.

    Attributes:
        failure: what each chat ends with after its events: a code, a message and the packed details, or ``None``.
    """

    def __init__(
        self, credentials: grpc.ServerCredentials | None = None, events: Sequence[turn_pb2.TurnEvent | bytes] = (OK,)
    ) -> None:
        self.events = events
        self.failure: tuple[grpc.StatusCode, str, bytes] | None = None
        self.serving = True
        self.watches = 0
        self.metadata: list[dict[str, Any]] = []
        """What came with each call."""
        self.address = ""
        self._credentials = credentials

    async def __aenter__(self) -> Self:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        check, read = health_pb2.HealthCheckRequest.FromString, chat_pb2.ChatRequest.FromString
        self._server.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(
                    "grpc.health.v1.Health",
                    {
                        "Check": grpc.unary_unary_rpc_method_handler(self._check, check, _serialized),
                        "Watch": grpc.unary_stream_rpc_method_handler(self._watch, check, _serialized),
                    },
                ),
                grpc.method_handlers_generic_handler(
                    "contextprotocol.v1.ChatService",
                    {"StreamChat": grpc.unary_stream_rpc_method_handler(self._chat, read, _serialized)},
                ),
            ]
        )
        if self._credentials is None:
            port = self._server.add_insecure_port("127.0.0.1:0")
        else:
            port = self._server.add_secure_port("127.0.0.1:0", self._credentials)
        await self._server.start()
        self.address = f"127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(None)

    @classmethod
    @contextmanager
    def in_a_thread(cls) -> Iterator[str]:
        """One that runs beside the test's own event loops; gives its address."""
        ready, done = threading.Event(), threading.Event()
        address = ""

        async def serve() -> None:
            nonlocal address
            async with cls() as server:
                address = server.address
                ready.set()
                await asyncio.to_thread(done.wait)

        thread = threading.Thread(target=asyncio.run, args=[serve()])
        thread.start()
        try:
            assert ready.wait(10)
            yield address
        finally:
            done.set()
            thread.join()

    def _note(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self.metadata.append(dict(context.invocation_metadata() or ()))

    def _status(self) -> health_pb2.HealthCheckResponse:
        status = health_pb2.HealthCheckResponse
        return status(status=status.SERVING if self.serving else status.NOT_SERVING)

    async def _check(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        self._note(context)
        return self._status()

    async def _watch(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """As a server that is about to stop: it says how it is, and ends."""
        self._note(context)
        self.watches += 1
        await context.write(self._status())

    async def _chat(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self._note(context)
        for event in self.events:
            await context.write(event)
        if self.failure is not None:
            code, message, details = self.failure
            await context.abort(code, message, (("grpc-status-details-bin", details),) if details else ())


def _serialized(message: Any) -> bytes:
    data: bytes = message if isinstance(message, bytes) else message.SerializeToString()
    return data
