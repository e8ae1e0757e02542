"""What a provider needs to receive back with its reasoning, as the opaque signature of a thinking block."""

from __future__ import annotations

import base64
import binascii
import enum
from typing import Final

import msgspec

from mcp_server.values import ProviderState

_FIELDS: Final = msgspec.msgpack.Decoder(tuple[str, str, bytes])
NO_PROVIDER: Final = "?"
"""The provider of what another server has signed. None has this name, so none receives it."""


class Thoughts(enum.Enum):
    """What the caller sees of the model's reasoning."""

    SHOWN = "shown"
    """All that the provider reveals."""
    SIGNED = "signed"
    """Blocks without text, to be sent back."""
    HIDDEN = "hidden"
    """Nothing."""


def signature(state: ProviderState | None) -> str:
    """A state as text; empty if there is none."""
    if state is None:
        return ""
    return base64.b64encode(msgspec.msgpack.encode((state.provider, state.model, state.data))).decode()


def state_of(text: str) -> ProviderState | None:
    """The state in a signature; ``None`` if it is empty."""
    if not text:
        return None
    try:
        provider, model, data = _FIELDS.decode(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        return ProviderState(provider=NO_PROVIDER, data=text.encode())
    return ProviderState(provider=provider, model=model, data=data)
