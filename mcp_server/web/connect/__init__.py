"""The gRPC services over HTTP, for browsers: the Connect protocol and gRPC-Web."""

from mcp_server.web.connect.part import part

__all__ = ["part"]
