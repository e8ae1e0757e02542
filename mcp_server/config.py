"""The former name of :mod:`mcp_server.settings`, importable until the next minor release."""

import warnings
from typing import Any

from mcp_server import settings
from mcp_server.settings import *  # noqa: F403  # every public name, under its former place
from mcp_server.settings import __all__ as __all__

warnings.warn(f"{__name__} is now mcp_server.settings", DeprecationWarning, stacklevel=2)


def __getattr__(name: str) -> Any:
    """Import a name that has moved further."""
    return getattr(settings, name)
