"""The blocking client, generated from ``mcp_client._aio``; ``transport`` and ``tool_runner`` are written by hand."""
