"""The former name of :mod:`mcp_server.settings`, importable until the next minor release."""

import warnings

from mcp_server.settings import *  # noqa: F403  # every public name, under its former place
from mcp_server.settings import __all__ as __all__

warnings.warn(f"{__name__} is now mcp_server.settings", DeprecationWarning, stacklevel=2)
