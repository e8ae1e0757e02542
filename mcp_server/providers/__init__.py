"""Providers of models: one folder each. ``http``, ``json_schema`` and ``local`` hold what several of them share."""

from typing import Final

BUILT_IN: Final = {
    "custom": "mcp_server.providers.custom:CustomSettings",
    "demo": "mcp_server.providers.demo.settings:DemoSettings",
    "huggingface": "mcp_server.providers.huggingface.settings:HuggingFaceSettings",
    "llama_cpp": "mcp_server.providers.llama_cpp.settings:LlamaCppSettings",
    "openai": "mcp_server.providers.openai.settings:OpenAISettings",
}
"""The settings table of each provider, by the ``type`` that chooses it."""
