"""Groups of commands of ``mcp-server``, a file each, and what they share."""
