"""OpenAI's API over sessions and turns."""

from mcp_server.web.openai.part import part

__all__ = ["part"]
