"""Authentication: who makes a call, and whether its credentials permit it."""

from mcp_server.middleware.authentication.api_key import KeyAuthenticator
from mcp_server.middleware.authentication.guard import Authentication
from mcp_server.middleware.authentication.identities import Identities

__all__ = ["Authentication", "Identities", "KeyAuthenticator"]
