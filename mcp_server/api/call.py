"""How a method of a service answers, on any transport."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from google.protobuf.message import Message

Send = Callable[[Message], Awaitable[None]]
"""Sends one message of a stream; returns when there is room for more."""
