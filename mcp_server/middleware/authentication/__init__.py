"""Authentication: who makes a call, and whether its credentials permit it."""

from mcp_server.middleware.authentication.api_key import KeyAuthenticator
from mcp_server.middleware.authentication.certificate import CertificateAuthenticator
from mcp_server.middleware.authentication.guard import Authentication

__all__ = ["Authentication", "CertificateAuthenticator", "KeyAuthenticator"]
