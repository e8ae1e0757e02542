"""Models in the Hugging Face format that run on this machine, by transformers: one process for each that is loaded."""

from mcp_server.providers.huggingface.model import TransformersModel
from mcp_server.providers.huggingface.provider import HuggingFaceProvider

__all__ = ["HuggingFaceProvider", "TransformersModel"]
