# The blocking twin of _calls.py, written by scripts/generate: change that one.

"""How a client calls: again where that helps, and a turn that nobody waits for any more is stopped."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Sequence
from typing import Any

from contextprotocol.v1 import embedding_pb2, generation_pb2, model_pb2, turn_pb2
from mcp_client import _requests
from mcp_client._arguments import Seconds, seconds
from mcp_client._base import METHODS, STOP_TIMEOUT, Answer
from mcp_client._errors import DeadlineExceeded, InvalidArgument, MCPError
from mcp_client._retry import Attempts, Retries
from mcp_client._settings import Settings
from mcp_client._sync_transport import SyncResponses, SyncTransport


class SyncCalls:
    """The calls of one client.

    Args:
        settings: how the server is reached.
        transport: reaches it.
        retries: what is sent again.
    """

    def __init__(self, settings: Settings, transport: SyncTransport, retries: Retries) -> None:
        self._settings = settings
        self._transport = transport
        self._retries = retries

    def unary(self, name: str, request: Any, timeout: Seconds | None) -> Any:
        """Call a method that asks no model."""
        limit = self._settings.timeout if timeout is None else seconds("timeout", timeout)
        return self._unary(name, request, limit)

    def embed(
        self, request: embedding_pb2.EmbedRequest, timeout: Seconds | None
    ) -> Sequence[embedding_pb2.EmbedResponse]:
        """Ask one model for vectors, in as many batches as it takes; their answers, in order."""
        deadline = math.inf if timeout is None else time.monotonic() + seconds("timeout", timeout)
        answers: list[embedding_pb2.EmbedResponse] = []
        done, size = 0, len(request.inputs)
        while True:
            batch = _requests.batch(request, done, size)
            left = None if timeout is None else deadline - time.monotonic()
            try:
                answer = self._unary("EmbeddingService.Embed", batch, left)
            except InvalidArgument as error:
                if "inputs" not in error.violations or len(batch.inputs) < 2:
                    raise
                # More than the model takes. Which one that is, its answer to the first text tells if nobody else does.
                size = self._max_batch(request.model, left) if request.model else 1
                if not 0 < size < len(batch.inputs):
                    raise
                continue
            answers.append(answer)
            done += len(batch.inputs)
            if done >= len(request.inputs):
                return answers
            if request.model != answer.model:
                # Vectors of two models cannot be compared: all others are asked of the same, and of no fallback.
                request.model = answer.model
                size = self._max_batch(answer.model, left)

    def turn(self, name: str, request: Any, timeout: Seconds | None) -> Any:
        """Begin a turn and wait for its end. If the caller will not wait so long, it is stopped."""
        limit = None if timeout is None else seconds("timeout", timeout)
        try:
            return self._unary(name, request, limit)
        except (KeyboardInterrupt, DeadlineExceeded):
            service, _, method = name.partition(".")
            self.leave(f"{service}.Stream{method}", request)
            raise

    def attempts(self, name: str, timeout: float | None, sequence: int) -> Attempts:
        """The attempts of a stream that begins now."""
        return Attempts(self._retries, name, timeout=timeout, sequence=sequence)

    def stream(self, name: str, request: Any, attempts: Attempts) -> SyncResponses:
        """One attempt of a stream."""
        return self._transport.stream(METHODS[name], request, attempts.begin())

    def pause(self, delay: float) -> None:
        """Wait between two attempts."""
        self._transport.pause(delay)

    def cancel(self, name: str, request: Any, turn: str, timeout: Seconds | None) -> turn_pb2.Turn:
        """Stop the turn of a stream, and return it; ``turn``: its full name, if it is known."""
        limit = self._settings.timeout if timeout is None else seconds("timeout", timeout)
        cancel = turn_pb2.CancelTurnRequest(name=turn or self._name_of_turn(name, request, limit))
        stopped: turn_pb2.Turn = self._unary("TurnService.CancelTurn", cancel, limit)
        return stopped

    def leave(self, name: str, request: Any, turn: str = "") -> None:
        """Stop the turn of a stream that its caller has left, so that its session is free; unless it is to go on.

        One that somebody else may be waiting for as well is left to the server, who knows.
        """
        goes_on = request.on_disconnect == generation_pb2.ON_DISCONNECT_CONTINUE
        if not goes_on and not _requests.may_be_shared(request) and self._transport.usable:
            self._transport.finish(self._leave, name, request, turn)

    def _leave(self, name: str, request: Any, turn: str) -> None:
        # A courtesy of which nobody hears, whatever becomes of it: without it, the server stops the turn when its
        # grace is over. What raises here can be the function that is asked for metadata.
        with contextlib.suppress(Exception):
            deadline = time.monotonic() + STOP_TIMEOUT
            cancel = turn_pb2.CancelTurnRequest(name=turn or self._name_of_turn(name, request, STOP_TIMEOUT))
            self._transport.unary(METHODS["TurnService.CancelTurn"], cancel, deadline - time.monotonic())

    def _name_of_turn(self, name: str, request: Any, limit: float) -> str:
        """The name of a turn whose first event was not seen.

        Raises:
            TurnNotFound: it has never begun. Asking with ``after_sequence`` does not begin it.
        """
        again = type(request)()
        again.CopyFrom(request)
        again.after_sequence = 0
        answer = Answer()
        responses = self._transport.stream(METHODS[name], again, limit)
        try:
            for received in responses:
                answer.take(received)
                if answer.turn:
                    break
        finally:
            responses.cancel()
        return answer.turn

    def _max_batch(self, model: str, left: float | None) -> int:
        limit = self._settings.timeout if left is None else min(left, self._settings.timeout)
        found: model_pb2.Model = self._unary("ModelService.GetModel", _requests.get_model(model), limit)
        return found.max_batch

    def _unary(self, name: str, request: Any, limit: float | None) -> Any:
        method = METHODS[name]
        attempts = Attempts(self._retries, name, timeout=limit, repeatable=method.repeatable)
        while True:
            try:
                response = self._transport.unary(method, request, attempts.begin())
            except MCPError as error:
                delay = attempts.again(error)
            else:
                attempts.succeeded()
                return response
            self._transport.pause(delay)
