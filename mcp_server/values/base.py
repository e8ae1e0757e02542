"""The base class of every value."""

from __future__ import annotations

from typing import dataclass_transform

import msgspec


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Struct(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The base of every value: frozen, keyword-only, and stored without its defaults.

    A value never refers back to what holds it, so the collector of garbage need not look at any.
    """
