"""Anthropic's API over turns."""

from mcp_server.web.anthropic.part import part

__all__ = ["part"]
