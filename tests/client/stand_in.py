"""A small server of the tests' own, for what a real one does not do on demand."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import grpc
from google.protobuf import duration_pb2
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2

from contextprotocol.v1 import chat_pb2, key_pb2, message_pb2, session_pb2, turn_pb2, usage_pb2
from mcp_server.testing import Gate

OK = turn_pb2.TurnEvent(
    sequence=9,
    completed=turn_pb2.TurnCompleted(
        message=message_pb2.Message(role=message_pb2.ROLE_ASSISTANT, parts=[message_pb2.Part(text="ok")]),
        finish_reason=message_pb2.FINISH_REASON_STOP,
    ),
)
"""The end of an answer."""

STARTED = turn_pb2.TurnEvent(sequence=1, started=turn_pb2.TurnStarted(turn="turns/t", model="a/a"))
"""Its beginning."""


def text(sequence: int, piece: str, part: int = 0) -> turn_pb2.TurnEvent:
    """A piece of text."""
    return turn_pb2.TurnEvent(sequence=sequence, delta=turn_pb2.Delta(part=part, text=piece))


@dataclass(frozen=True)
class Failure:
    """How a call ends that does not end well."""

    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    message: str = "from afar"
    details: bytes = b""
    """Packed."""
    pushback: str = ""
    """What gRPC's own retries are told, if anything."""

    @classmethod
    def of(
        cls,
        code: grpc.StatusCode,
        reason: str,
        *,
        retry_after: float | None = None,
        pushback: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> Failure:
        """A failure of a server of the contract."""
        status = status_pb2.Status()
        info = error_details_pb2.ErrorInfo(reason=reason, domain="contextprotocol", metadata=metadata)
        status.details.add().Pack(info)
        if retry_after is not None:
            delay = duration_pb2.Duration(nanos=round(retry_after * 1e9))
            status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
        return cls(code, reason, status.SerializeToString(), pushback)

    @property
    def trailers(self) -> tuple[tuple[str, str | bytes], ...]:
        """What is sent with it."""
        sent = (("grpc-status-details-bin", self.details), ("grpc-retry-pushback-ms", self.pushback))
        return tuple((key, value) for key, value in sent if value)


Step = turn_pb2.TurnEvent | bytes | Failure | Gate
"""What a chat is made of: an event to send, bytes to send as they are, a failure to end with, a gate to wait at."""


class StandIn:
    """Answers health checks, and whatever makes a turn with the steps that it was given.

    Args:
        credentials: of a secure port; ``None``: the port is not secure.
        scripts: the steps of each call; the last one is for all that follow.
        initial, trailing: metadata of each response.
        answers: what the methods of KeyService and UsageService answer, by the method's name, call by call.
        max_streams: on one connection; 0: any number.

    Attributes:
        requests: what was asked, in order.
        cancelled: the turns that were stopped.
        stopping: set when one is to be stopped.
        may_stop: set when that may happen.
    """

    def __init__(
        self,
        *scripts: Sequence[Step],
        credentials: grpc.ServerCredentials | None = None,
        max_streams: int = 0,
        initial: Sequence[tuple[str, str | bytes]] = (),
        trailing: Sequence[tuple[str, str | bytes]] = (),
        answers: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        self._answers = {method: iter(steps) for method, steps in (answers or {}).items()}
        self.scripts: Sequence[Sequence[Step]] = scripts or ((OK,),)
        self._initial, self._trailing = tuple(initial), tuple(trailing)
        self.requests: list[Any] = []
        self.cancelled: list[str] = []
        self.stopping = asyncio.Event()
        self.may_stop = asyncio.Event()
        self.may_stop.set()
        self.serving = True
        self.watches = 0
        self.metadata: list[dict[str, Any]] = []
        """What came with each call."""
        self.address = ""
        self.token: str | None = None
        """Who does not send it is refused; ``None``: nobody is."""
        self.peers: set[str] = set()
        """The connections over which calls came."""
        self._credentials = credentials
        self._options = [("grpc.so_reuseport", 0)]
        if max_streams:
            self._options.append(("grpc.max_concurrent_streams", max_streams))

    async def __aenter__(self) -> Self:
        self._server = grpc.aio.server(options=self._options)
        check, read = health_pb2.HealthCheckRequest.FromString, chat_pb2.ChatRequest.FromString
        watch, cancel = turn_pb2.StreamTurnRequest.FromString, turn_pb2.CancelTurnRequest.FromString
        delete = session_pb2.DeleteSessionRequest.FromString
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
                    {
                        "Chat": grpc.unary_unary_rpc_method_handler(self._chat, read, _serialized),
                        "StreamChat": grpc.unary_stream_rpc_method_handler(self._stream, read, _serialized),
                    },
                ),
                grpc.method_handlers_generic_handler(
                    "contextprotocol.v1.TurnService",
                    {
                        "StreamTurn": grpc.unary_stream_rpc_method_handler(self._stream, watch, _serialized),
                        "CancelTurn": grpc.unary_unary_rpc_method_handler(self._cancel, cancel, _serialized),
                    },
                ),
                grpc.method_handlers_generic_handler(
                    "contextprotocol.v1.SessionService",
                    {"DeleteSession": grpc.unary_unary_rpc_method_handler(self._refuse, delete, _serialized)},
                ),
                *[
                    grpc.method_handlers_generic_handler(
                        service.full_name, {method.name: self._answering(method) for method in service.methods}
                    )
                    for file in (key_pb2, usage_pb2)
                    for service in file.DESCRIPTOR.services_by_name.values()
                ],
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

    async def _admit(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        metadata: dict[str, Any] = dict(context.invocation_metadata() or ())
        self.metadata.append(metadata)
        self.peers.add(context.peer())
        if self._initial:
            await context.send_initial_metadata(self._initial)
        context.set_trailing_metadata(self._trailing)
        if self.token is not None and metadata.get("authorization") != f"Bearer {self.token}":
            refusal = Failure.of(grpc.StatusCode.UNAUTHENTICATED, "BAD_CREDENTIALS")
            await context.abort(refusal.code, refusal.message, refusal.trailers)

    def _status(self) -> health_pb2.HealthCheckResponse:
        status = health_pb2.HealthCheckResponse
        return status(status=status.SERVING if self.serving else status.NOT_SERVING)

    async def _check(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        await self._admit(context)
        return self._status()

    async def _watch(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """As a server that is about to stop: it says how it is, and ends."""
        await self._admit(context)
        self.watches += 1
        await context.write(self._status())

    async def _stream(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        async for event in self._play(request, context):
            await context.write(event)

    async def _chat(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        *_, last = [event async for event in self._play(request, context)]
        return chat_pb2.ChatResponse(turn="turns/t", completed=last.completed)

    async def _refuse(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        async for _ in self._play(request, context):
            pass

    async def _play(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        await self._admit(context)
        script = self.scripts[min(len(self.requests), len(self.scripts) - 1)]
        self.requests.append(request)
        for step in script:
            if isinstance(step, Gate):
                await step.passed()
            elif isinstance(step, Failure):
                await context.abort(step.code, step.message, step.trailers)
            else:
                yield step

    def _answering(self, method: Any) -> grpc.RpcMethodHandler[Any, Any]:
        async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            await self._admit(context)
            self.requests.append(request)
            step = next(self._answers[method.name])
            if isinstance(step, Failure):
                await context.abort(step.code, step.message, step.trailers)
            return step

        read = GetMessageClass(method.input_type).FromString
        return grpc.unary_unary_rpc_method_handler(answer, read, _serialized)

    async def _cancel(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        self.stopping.set()
        await self.may_stop.wait()
        self.cancelled.append(request.name)
        return turn_pb2.Turn(name=request.name, state=turn_pb2.TURN_STATE_CANCELLED)


def _serialized(message: Any) -> bytes:
    data: bytes = message if isinstance(message, bytes) else message.SerializeToString()
    return data
