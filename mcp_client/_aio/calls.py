"""Makes calls: retries them, and cancels turns that no caller waits for any more."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import AsyncIterator
from typing import Any

from contextprotocol.v1 import embedding_pb2, generation_pb2, model_pb2, turn_pb2
from mcp_client._aio.transport import AsyncResponses, AsyncTransport
from mcp_client._core.answer import Answer
from mcp_client._core.arguments import seconds
from mcp_client._core.channel import ChannelSettings
from mcp_client._core.defaults import STOP_TIMEOUT
from mcp_client._core.methods import METHODS
from mcp_client._core.requests import models as requests
from mcp_client._core.requests.names import may_be_shared
from mcp_client._core.retry import Attempts, RetryPolicy
from mcp_client.errors import DeadlineExceeded, InvalidArgument, MCPError
from mcp_client.values import Seconds


class AsyncCalls:
    """The calls of one client.

    Args:
        settings: of the connection.
        transport: the connection.
        policy: decides about retries.
    """

    def __init__(self, settings: ChannelSettings, transport: AsyncTransport, policy: RetryPolicy) -> None:
        self._settings = settings
        self._transport = transport
        self._policy = policy

    @property
    def address(self) -> str:
        """The address of the server, for messages."""
        return self._settings.address

    async def unary(self, name: str, request: Any, timeout: Seconds | None) -> Any:
        """Call a method that does not involve a model."""
        limit = self._settings.timeout if timeout is None else seconds("timeout", timeout)
        return await self._unary(name, request, limit)

    async def embed(
        self, request: embedding_pb2.EmbedRequest, timeout: Seconds | None
    ) -> AsyncIterator[embedding_pb2.EmbedResponse]:
        """Embed texts with one model, in as many batches as necessary, and yield the response of each, in order."""
        deadline = math.inf if timeout is None else time.monotonic() + seconds("timeout", timeout)
        done, size = 0, len(request.inputs)
        while True:
            batch = requests.batch(request, done, size)
            left = None if timeout is None else deadline - time.monotonic()
            try:
                response = await self._unary("EmbeddingService.Embed", batch, left)
            except InvalidArgument as error:
                if "inputs" not in error.violations or len(batch.inputs) < 2:
                    raise
                # The batch is too large for the model. If the caller named none, a single text shows which model it is.
                size = await self._max_batch(request.model, deadline) if request.model else 1
                if not 0 < size < len(batch.inputs):
                    raise
                continue
            yield response
            done += len(batch.inputs)
            if done >= len(request.inputs):
                return
            if request.model != response.model:
                # Vectors of two models cannot be compared: the other batches go to the same model, without fallback.
                request.model = response.model
                size = await self._max_batch(response.model, deadline)

    async def turn(self, name: str, request: Any, timeout: Seconds | None) -> Any:
        """Start a turn and wait for its end. If the caller stops waiting, the turn is cancelled."""
        limit = None if timeout is None else seconds("timeout", timeout)
        try:
            return await self._unary(name, request, limit)
        except BaseException as error:
            # Whatever else than an answer of the server ends the wait: a cancelled task, a signal handler, gevent …
            if isinstance(error, DeadlineExceeded) or not isinstance(error, MCPError):
                service, _, method = name.partition(".")
                await self.leave(f"{service}.Stream{method}", request)
            raise

    def attempts(self, name: str, timeout: float | None, sequence: int) -> Attempts:
        """The attempts of a stream that starts now."""
        return Attempts(self._policy, name, timeout=timeout, sequence=sequence)

    async def stream(self, name: str, request: Any, attempts: Attempts) -> AsyncResponses:
        """Start an attempt of a stream."""
        return await self._transport.stream(METHODS[name], request, attempts.begin())

    async def pause(self, delay: float) -> None:
        """Wait between two attempts."""
        await self._transport.pause(delay)

    async def cancel(self, name: str, request: Any, turn: str, timeout: Seconds | None) -> turn_pb2.Turn:
        """Cancel the turn of a stream, and return it; ``turn``: its full name, if it is known."""
        limit = self._settings.timeout if timeout is None else seconds("timeout", timeout)
        cancel = turn_pb2.CancelTurnRequest(name=turn or await self._name_of_turn(name, request, limit))
        cancelled: turn_pb2.Turn = await self._unary("TurnService.CancelTurn", cancel, limit)
        return cancelled

    async def leave(self, name: str, request: Any, turn: str = "") -> None:
        """Cancel the turn of a stream that its caller has left, which frees the session.

        Turns that shall continue without readers are left alone. So are those that another caller may wait for: the
        server knows, and cancels them after the grace period if no reader is left.
        """
        continues = request.on_disconnect == generation_pb2.ON_DISCONNECT_CONTINUE
        if not continues and not may_be_shared(request) and self._transport.usable:
            await self._transport.finish(self._leave, name, request, turn)

    async def _leave(self, name: str, request: Any, turn: str) -> None:
        # Best effort: if it fails, the server cancels the turn after the grace period. Any exception is possible,
        # because the caller's metadata function is called too.
        with contextlib.suppress(Exception):
            deadline = time.monotonic() + STOP_TIMEOUT
            cancel = turn_pb2.CancelTurnRequest(name=turn or await self._name_of_turn(name, request, STOP_TIMEOUT))
            await self._transport.unary(METHODS["TurnService.CancelTurn"], cancel, deadline - time.monotonic())

    async def _name_of_turn(self, name: str, request: Any, limit: float) -> str:
        """The name of a turn whose first event was not received.

        Raises:
            TurnNotFound: the turn was never started. A request with ``after_sequence`` does not start one.
        """
        again = type(request)()
        again.CopyFrom(request)
        again.after_sequence = 0
        answer = Answer()
        responses = await self._transport.stream(METHODS[name], again, limit)
        try:
            async for received in responses:
                answer.add(received)
                if answer.turn:
                    break
        finally:
            responses.cancel()
        return answer.turn

    async def _max_batch(self, model: str, deadline: float) -> int:
        limit = min(deadline - time.monotonic(), self._settings.timeout)
        found: model_pb2.Model = await self._unary("ModelService.GetModel", requests.get_model(model), limit)
        return found.max_batch

    async def _unary(self, name: str, request: Any, limit: float | None) -> Any:
        method = METHODS[name]
        attempts = Attempts(self._policy, name, timeout=limit, idempotent=method.idempotent)
        while True:
            try:
                response = await self._transport.unary(method, request, attempts.begin())
            except MCPError as error:
                delay = attempts.retry_delay(error)
            else:
                attempts.succeeded()
                return response
            await self._transport.pause(delay)
