"""Records the metadata that servers send with the responses of calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

Received = Iterable[tuple[str, str | bytes]] | None
"""Metadata in gRPC's own form."""

_recordings: Final[ContextVar[tuple[_Recording, ...]]] = ContextVar("recordings", default=())


class CallMetadata:
    """The metadata that a server sent with one call. They are filled in while the call runs.

    Attributes:
        method: ``Service.Method`` of the contract, for example ``ChatService.StreamChat``.
        initial: the headers of the response by name, in lower case; empty until they arrive. The values of names that
            end in ``-bin`` are bytes. The values of a name that was sent more than once are joined by commas.
        trailing: the trailers of the response in the same form; empty until the end of the call.
    """

    __slots__ = ("initial", "method", "trailing")

    def __init__(self, method: str) -> None:
        self.method = method
        self.initial: Mapping[str, str | bytes] = {}
        self.trailing: Mapping[str, str | bytes] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(method={self.method!r}, initial={self.initial!r}, trailing={self.trailing!r})"


class _Recording:
    """The calls of one block. Tasks that the block has started keep it, and may outlive the block."""

    __slots__ = ("calls", "over")

    def __init__(self) -> None:
        self.calls: list[CallMetadata] = []
        self.over = False


@contextmanager
def record_metadata() -> Iterator[Sequence[CallMetadata]]:
    """Record the metadata that servers send with the calls of the block.

    ::

        with record_metadata() as calls:
            reply = await client.chat("Hello!")
        print(calls[-1].initial, calls[-1].trailing)

    The result has each call to a server that begins in the block, in order: each retry of a call, each call with which
    a stream resumes, each page of a list, each batch of texts and each round of tools is one. The response that the
    program received is that of the last one. It works with all methods of both clients, for the calls of the present
    task or thread and of the tasks that it starts.
    """
    recording = _Recording()
    token = _recordings.set((*_recordings.get(), recording))
    try:
        yield recording.calls
    finally:
        recording.over = True
        _recordings.reset(token)


def recorded(method: str) -> CallMetadata | None:
    """The record of a call that begins now; ``None`` if nobody asked for it."""
    recordings = [recording for recording in _recordings.get() if not recording.over]
    if not recordings:
        return None
    call = CallMetadata(method)
    for recording in recordings:
        recording.calls.append(call)
    return call


def began(call: CallMetadata, initial: Received) -> None:
    """Record the headers of the response of a call."""
    call.initial = _by_name(initial)


def ended(call: CallMetadata, initial: Received, trailing: Received) -> None:
    """Record the headers and trailers of the response of a call that succeeded."""
    call.initial, call.trailing = _by_name(initial), _by_name(trailing)


def failed(call: CallMetadata | None, error: Any) -> None:
    """Record those of a call that failed, if it is recorded. The error of an interceptor may have none."""
    if call is not None and hasattr(error, "trailing_metadata"):
        ended(call, error.initial_metadata(), error.trailing_metadata())


def _by_name(metadata: Received) -> Mapping[str, str | bytes]:
    values: dict[str, list[Any]] = {}
    for name, value in metadata or ():
        values.setdefault(name, []).append(value)
    return {name: (b"," if isinstance(found[0], bytes) else ", ").join(found) for name, found in values.items()}
