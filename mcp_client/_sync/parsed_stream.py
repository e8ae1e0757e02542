# Generated from mcp_client/_aio/parsed_stream.py by scripts/generate: edit that file.

"""The stream of an answer that is a value of a type."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from mcp_client._core import structured
from mcp_client._sync.calls import SyncCalls
from mcp_client._sync.stream import SyncTurnStream
from mcp_client.tools.answer_type import AnswerType
from mcp_client.values import ParsedReply, Seconds

T = TypeVar("T")


class SyncParsedTurnStream(SyncTurnStream, Generic[T]):
    """A :class:`SyncTurnStream` whose answer is a value of the type that the call asked for.

    ::

        with client.stream_chat("What is the capital of Italy?", schema=City) as stream:
            for token in stream:
                print(token, end="", flush=True)
        print(stream.parsed.name)
    """

    def __init__(
        self, calls: SyncCalls, name: str, request: Any, timeout: Seconds | None, *, expected: AnswerType[T]
    ) -> None:
        super().__init__(calls, name, request, timeout)
        self._expected = expected
        self._parsed: ParsedReply[T] | None = None

    @property
    def parsed(self) -> T:
        """The value, once the answer is complete.

        Raises:
            InvalidAnswer: the answer does not conform to the type.
            RuntimeError: the answer is not complete.
        """
        if self._answer.reply is None:
            raise RuntimeError("the answer is not complete: read the stream to its end first")
        return self._read().parsed

    def reply(self) -> ParsedReply[T]:
        """The complete answer with its value. Waits for the end of the turn.

        Raises:
            MCPError: the turn did not succeed.
            InvalidAnswer: the answer does not conform to the type.
        """
        super().reply()
        return self._read()

    def _read(self) -> ParsedReply[T]:
        if self._parsed is None:
            self._parsed = structured.parsed(self._answer.complete(), self._expected)
        return self._parsed
