"""What is to be checked, and how a test ended, as the two processes tell each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

LOADED: Final = "it is loaded, and its settings are valid"
BUILT: Final = "it is built from its settings"
COMPARED: Final = "it has the methods of its interface"
CHOSEN: Final = "its contracts can be chosen"
COLLECTED: Final = "its tests are collected"
STEPS: Final = (LOADED, BUILT, COMPARED, CHOSEN, COLLECTED)
"""What comes before the tests of the contracts, each of which needs the one before."""


class CheckRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A plug-in to check."""

    kind: str
    """A key of :data:`mcp_server.plugins.KINDS`."""
    name: str
    """Its name in the settings."""
    folder: str
    """A folder for files of the check."""
    file: str = ""
    """The TOML file with its settings; empty: there is none."""
    values: Mapping[str, str] = {}
    """Further settings, by dotted key."""
    model: str = ""
    """Of a provider: the model to ask; empty: the first that chats."""
    credentials: Mapping[str, str] = {}
    """Of an authenticator: the metadata of a call with valid credentials."""
    done: tuple[str, ...] = ()
    """The tests that an earlier process has run already."""


class CheckEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A test begins, or has ended."""

    test: str
    """Its name, in words; empty: all have ended."""
    outcome: str = ""
    """``passed``, ``failed`` or ``skipped``; empty: it begins."""
    reason: str = ""
    """Why it failed or was skipped."""
