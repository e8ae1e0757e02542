"""Checks the interceptors that the user hands in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def checked(interceptors: Sequence[Any], module: str, unary: type, stream: type) -> tuple[Any, ...]:
    """The interceptors of a client.

    Raises:
        TypeError: one is of another channel, or of neither kind of calls that the contract has.
    """
    for position, interceptor in enumerate(interceptors):
        if not isinstance(interceptor, (unary, stream)):
            raise TypeError(
                f"interceptors[{position}]: expected a UnaryUnaryClientInterceptor or UnaryStreamClientInterceptor of "
                f"{module}, not {interceptor!r}"
            )
    return tuple(interceptors)
