"""API keys: those of the settings and those of the store, and the use cases around them."""

from mcp_server.keys.first_key import ensure_first_key, first_key_file
from mcp_server.keys.from_settings import settings_keys
from mcp_server.keys.manager import KeyManager

__all__ = ["KeyManager", "ensure_first_key", "first_key_file", "settings_keys"]
