"""OpenAI, Azure, and every server that speaks their protocol: vLLM, Ollama, llama.cpp, Groq, Mistral and many more."""

from mcp_server.providers.openai.options import ModelOptions, Options, Prefill
from mcp_server.providers.openai.provider import OpenAIProvider

__all__ = ["ModelOptions", "OpenAIProvider", "Options", "Prefill"]
