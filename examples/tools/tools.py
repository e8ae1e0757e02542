"""A model that calls two Python functions: ``python tools.py "How much space is free in /tmp?"``."""

import shutil
import sys
from pathlib import Path
from typing import Literal

from mcp_client import MCPError, MCPSyncClient


def free_space(folder: str, unit: Literal["MB", "GB"] = "GB") -> str:
    """How much space is free on the disk of a folder.

    Args:
        folder: an absolute path.
        unit: of the answer.
    """
    size = {"MB": 1e6, "GB": 1e9}[unit]
    return f"{shutil.disk_usage(folder).free / size:.1f} {unit}"


def largest_files(folder: str, count: int = 3) -> list[tuple[str, int]]:
    """The names and sizes, in bytes, of the largest files in a folder.

    Args:
        folder: an absolute path.
        count: how many.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")  # the model is told, and may call again
    sizes = [(path.name, path.stat().st_size) for path in Path(folder).iterdir() if path.is_file()]
    return sorted(sizes, key=lambda each: each[1], reverse=True)[:count]


def main(question: str) -> None:
    with MCPSyncClient() as client:
        reply = client.chat_with_tools(question, tools=[free_space, largest_files], max_rounds=5)
        for earlier in reply.earlier:
            for call in earlier.message.tool_calls:
                print(f"called {call.name}({call.arguments_json})")
        print(reply.text)
        print(f"{len(reply.earlier) + 1} turns, {reply.total_usage.total_tokens} tokens")


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else "How much space is free in /tmp, and what are its largest files?")
    except MCPError as error:
        sys.exit(str(error))
