"""The base class of every value."""

from __future__ import annotations

from typing import dataclass_transform

import msgspec


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Struct(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The base of every value: frozen, keyword-only, and encoded without its defaults.

    Values form no reference cycles, so the garbage collector does not track them.
    """
