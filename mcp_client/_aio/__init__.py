"""The asynchronous client. ``mcp_client._sync`` is generated from it, except for what waits differently."""
