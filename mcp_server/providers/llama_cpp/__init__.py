"""Models that run on this machine, by llama.cpp: no account, no network, and one process for each that is loaded."""

from mcp_server.providers.llama_cpp.model import LocalModel
from mcp_server.providers.llama_cpp.provider import LlamaCppProvider

__all__ = ["LlamaCppProvider", "LocalModel"]
