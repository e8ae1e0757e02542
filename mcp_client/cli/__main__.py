"""``python -m mcp_client.cli``."""

from mcp_client.cli import main

if __name__ == "__main__":
    main()
