"""Write the blocking twin of asynchronous code: same names, same comments, no `async` and no `await`.

Works on tokens, so that everything else stays as it was written. What waits differently (the transport, the parts of
tests that run beside each other) is written by hand, once for each side, behind the same names.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

MODULES: Final = {
    "mcp_client/_async.py": "mcp_client/_sync.py",
    "mcp_client/_calls.py": "mcp_client/_sync_calls.py",
    "mcp_client/_stream.py": "mcp_client/_sync_stream.py",
    "mcp_client/_tools.py": "mcp_client/_sync_tools.py",
    "mcp_client/integrations/_chat.py": "mcp_client/integrations/_sync_chat.py",
    **{
        f"tests/client/test_{tests}.py": f"tests/client/blocking/test_{tests}.py"
        for tests in (
            "arguments",
            "balancing",
            "connection",
            "embeddings",
            "errors",
            "events",
            "limits",
            "resume",
            "retry",
            "security",
            "sessions",
            "tools",
            "turn_service",
            "turns",
        )
    },
    "tests/interop/python/cases.py": "tests/interop/python_blocking/cases.py",
}
"""Each source and its twin, relative to the checkout."""

NAMES: Final[Mapping[str, str]] = {
    "AbstractAsyncContextManager": "AbstractContextManager",
    "AsyncCalls": "SyncCalls",
    "AsyncExitStack": "ExitStack",
    "AsyncFrames": "SyncFrames",
    "AsyncIterator": "Iterator",
    "AsyncMetadata": "SyncMetadata",
    "AsyncResponses": "SyncResponses",
    "AsyncStatuses": "SyncStatuses",
    "AsyncTransport": "SyncTransport",
    "MCPClient": "MCPSyncClient",
    "StopAsyncIteration": "StopIteration",
    "ToolStream": "SyncToolStream",
    "TurnStream": "SyncTurnStream",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "aclose": "close",
    "aclosing": "closing",
    "anext": "next",
    "asynccontextmanager": "contextmanager",
    "asyncio.CancelledError": "KeyboardInterrupt",
    "enter_async_context": "enter_context",
    "mcp_client._async": "mcp_client._sync",
    "mcp_client._calls": "mcp_client._sync_calls",
    "mcp_client._running": "mcp_client._sync_running",
    "mcp_client._stream": "mcp_client._sync_stream",
    "mcp_client._tools": "mcp_client._sync_tools",
    "mcp_client._transport": "mcp_client._sync_transport",
    "tests.client.beside": "tests.client.blocking.beside",
    "tests.client.conftest": "tests.client.blocking.conftest",
    "tests.interop.python": "tests.interop.python_blocking",
}
"""What is called otherwise: names, dotted or not, in code, comments and docstrings."""

WRAPPERS: Final = frozenset({"Awaitable", "asyncio.run"})
"""What is left out around something in brackets."""

PHRASES: Final[Mapping[str, str]] = {
    "The client, asynchronous": "The client, blocking",
    "with the asynchronous client": "with the blocking client",
    "A client belongs to the event loop in which it is first used.": (
        "Any number of threads may use one\n    client. Processes fork before the first call: after it, a child can"
        " use none."
    ),
    "function, asynchronous or not, that": "function that",
    "or because its task is cancelled": "or because of Ctrl-C",
    "or because the task is cancelled": "or by Ctrl-C",
}
"""What is said otherwise in comments and docstrings. Each must occur somewhere."""

_WORDS: Final = re.compile(
    "|".join([r"\b(?:async|await) ", *(rf"(?<!\w){re.escape(name)}\b" for name in sorted(NAMES, reverse=True))])
)


def generate(root: Path, target: Path) -> None:
    """Write the twins of the sources in ``root`` below ``target``.

    Raises:
        ValueError: a phrase does not occur any more.
    """
    sources = {path: (root / path).read_text(encoding="utf-8") for path in MODULES}
    for phrase in PHRASES:
        if not any(phrase in source for source in sources.values()):
            raise ValueError(f"nobody says {phrase!r} any more: take it out of {Path(__file__).name}")
    for path, source in sources.items():
        twin = target / MODULES[path]
        twin.parent.mkdir(parents=True, exist_ok=True)
        note = f"# The blocking twin of {Path(path).name}, written by scripts/generate: change that one.\n\n"
        twin.write_text(_tidy(note + translate(source), MODULES[path], root), encoding="utf-8")


def translate(source: str) -> str:
    """The blocking twin of a module; its lines may be too long, and its imports out of order."""
    lines = source.splitlines(keepends=True)
    for (row, column), (last_row, last_column), text in sorted(_changes(source), reverse=True):
        head, tail = lines[row - 1][:column], lines[last_row - 1][last_column:]
        lines[row - 1 : last_row] = [head + text + tail]
    return "".join(lines)


def _changes(source: str) -> Iterator[tuple[tuple[int, int], tuple[int, int], str]]:
    """Where something begins and ends that is written otherwise, and how."""
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    index = 0
    while index < len(tokens):
        token, end = tokens[index], index + 1
        if token.type == tokenize.NAME:
            while tokens[end].string == "." and tokens[end + 1].type == tokenize.NAME:
                end += 2
            dotted = "".join(part.string for part in tokens[index:end])
            if dotted in ("async", "await"):
                yield token.start, tokens[end].start, ""
            elif dotted in WRAPPERS and tokens[end].string in ("[", "("):
                yield token.start, tokens[end].end, ""
                closing = _closing(tokens, end)
                yield tokens[closing].start, tokens[closing].end, ""
            elif (other := _renamed(dotted)) != dotted:
                yield token.start, tokens[end - 1].end, other
        elif token.type in (tokenize.COMMENT, tokenize.STRING) and (other := _reworded(token.string)) != token.string:
            yield token.start, token.end, other
        index = end


def _closing(tokens: list[tokenize.TokenInfo], opening: int) -> int:
    """Where the bracket is closed that is opened there."""
    depth = 0
    for index in range(opening, len(tokens)):
        depth += {"[": 1, "(": 1, "]": -1, ")": -1}.get(tokens[index].string, 0)
        if depth == 0:
            return index
    raise ValueError(f"line {tokens[opening].start[0]}: the bracket is not closed")


def _renamed(dotted: str) -> str:
    """The name, or what it begins with, by its other name."""
    return _WORDS.sub(lambda found: NAMES[found[0]], dotted)


def _reworded(text: str) -> str:
    for phrase, other in PHRASES.items():
        text = text.replace(phrase, other)
    return _WORDS.sub(lambda found: NAMES.get(found[0], ""), text)


def _tidy(source: str, path: str, root: Path) -> str:
    """Imports in order and used, no comprehension that does nothing, lines of the right length."""
    for command in (("check", "--fix-only", "--unsafe-fixes", "--select", "I,F401,C416"), ("format",)):
        ruff = [sys.executable, "-m", "ruff", *command, "--quiet", "--config", root / "pyproject.toml"]
        done = subprocess.run(
            [*ruff, "--stdin-filename", path, "-"], input=source, capture_output=True, text=True, check=True, cwd=root
        )
        source = done.stdout
    return source
