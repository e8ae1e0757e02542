"""The former name of :mod:`mcp_server.values`, importable until the next minor release."""

import warnings

from mcp_server.values import *  # noqa: F403  # every public name, under its former place
from mcp_server.values import __all__ as __all__

warnings.warn(f"{__name__} is now mcp_server.values", DeprecationWarning, stacklevel=2)
