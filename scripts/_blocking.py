"""Generate blocking code from asynchronous code: same names, same comments, without `async` and `await`.

It replaces tokens and leaves everything else as it is written. The code that waits differently (the transport, the
runner of tools, the concurrent parts of tests) is written by hand for both, with the same names.
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
    **{
        f"mcp_client/_aio/{module}.py": f"mcp_client/_sync/{module}.py"
        for module in (
            "access",
            "calls",
            "chat",
            "client",
            "completion",
            "health",
            "listing",
            "models",
            "parsed_stream",
            "session_watch",
            "sessions",
            "stream",
            "tool_chat",
            "tool_stream",
            "turns",
        )
    },
    "mcp_client/integrations/_web/aio_routes.py": "mcp_client/integrations/_web/sync_routes.py",
    **{
        f"tests/client/test_{tests}.py": f"tests/client/blocking/test_{tests}.py"
        for tests in (
            "access",
            "accounts",
            "arguments",
            "balancing",
            "connection",
            "embeddings",
            "errors",
            "events",
            "interceptors",
            "limits",
            "messages",
            "metadata",
            "options",
            "replies",
            "resume",
            "retry",
            "security",
            "sessions",
            "structured",
            "tools",
            "trace",
            "turn_service",
            "turns",
            "watch",
        )
    },
    "tests/interop/python/cases.py": "tests/interop/python_blocking/cases.py",
}
"""Each source and the module generated from it, relative to the checkout."""

NAMES: Final[Mapping[str, str]] = {
    "AbstractAsyncContextManager": "AbstractContextManager",
    "AsyncCalls": "SyncCalls",
    "AsyncExitStack": "ExitStack",
    "AsyncFrames": "SyncFrames",
    "AsyncGenerator": "Generator",
    "AsyncInterceptor": "SyncInterceptor",
    "AsyncIterator": "Iterator",
    "AsyncMetadata": "SyncMetadata",
    "AsyncResponses": "SyncResponses",
    "AsyncStatuses": "SyncStatuses",
    "AsyncTransport": "SyncTransport",
    "Listing": "SyncListing",
    "MCPClient": "MCPSyncClient",
    "ParsedTurnStream": "SyncParsedTurnStream",
    "SessionWatch": "SyncSessionWatch",
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
    "grpc.aio": "grpc",
    "mcp_client._aio": "mcp_client._sync",
    "tests.client.beside": "tests.client.blocking.beside",
    "tests.client.conftest": "tests.client.blocking.conftest",
    "tests.interop.python": "tests.interop.python_blocking",
}
"""Names to replace, dotted or not, in code, comments and docstrings."""

WRAPPERS: Final = frozenset({"Awaitable", "asyncio.run"})
"""Names to remove with the brackets behind them, but not what is in the brackets."""

PHRASES: Final[Mapping[str, str]] = {
    "The asynchronous client": "The blocking client",
    "with the asynchronous client": "with the blocking client",
    "A client belongs to the event loop in which it is first used.": (
        "Any number of threads may use a\n    client. A process that forks has to do so before its first call."
    ),
    "function, asynchronous or not, that": "function that",
    "or because its task is cancelled": "or because of Ctrl-C",
    "or because the task is cancelled": "or by Ctrl-C",
}
"""Phrases to replace in comments and docstrings. Each must occur in a source."""

_WORDS: Final = re.compile(
    "|".join([r"\b(?:async|await) ", *(rf"(?<!\w){re.escape(name)}\b" for name in sorted(NAMES, reverse=True))])
)


def generate(root: Path, target: Path) -> None:
    """Generate the blocking modules of the sources in ``root`` below ``target``.

    Raises:
        ValueError: a phrase does not occur in any source.
    """
    sources = {path: (root / path).read_text(encoding="utf-8") for path in MODULES}
    for phrase in PHRASES:
        if not any(phrase in source for source in sources.values()):
            raise ValueError(
                f"the phrase {phrase!r} does not occur in any source: remove it from {Path(__file__).name}"
            )
    for path, source in sources.items():
        output = target / MODULES[path]
        output.parent.mkdir(parents=True, exist_ok=True)
        note = f"# Generated from {path} by scripts/generate: edit that file.\n\n"
        output.write_text(_tidy(note + translate(source), MODULES[path], root), encoding="utf-8")


def translate(source: str) -> str:
    """The blocking form of a module; its lines may be too long, and its imports unsorted."""
    lines = source.splitlines(keepends=True)
    for (row, column), (last_row, last_column), text in sorted(_changes(source), reverse=True):
        head, tail = lines[row - 1][:column], lines[last_row - 1][last_column:]
        lines[row - 1 : last_row] = [head + text + tail]
    return "".join(lines)


def _changes(source: str) -> Iterator[tuple[tuple[int, int], tuple[int, int], str]]:
    """The replacements: where each begins and ends, and the new text."""
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
    """The index of the bracket that closes the one at ``opening``."""
    depth = 0
    for index in range(opening, len(tokens)):
        depth += {"[": 1, "(": 1, "]": -1, ")": -1}.get(tokens[index].string, 0)
        if depth == 0:
            return index
    raise ValueError(f"line {tokens[opening].start[0]}: the bracket is not closed")


def _renamed(dotted: str) -> str:
    """The name with its replaced parts."""
    return _WORDS.sub(lambda found: NAMES[found[0]], dotted)


def _reworded(text: str) -> str:
    for phrase, other in PHRASES.items():
        text = text.replace(phrase, other)
    return _WORDS.sub(lambda found: NAMES.get(found[0], ""), text)


def _tidy(source: str, path: str, root: Path) -> str:
    """Sort imports, remove unused ones and needless comprehensions, and format."""
    for command in (("check", "--fix-only", "--unsafe-fixes", "--select", "I,F401,C416"), ("format",)):
        ruff = [sys.executable, "-m", "ruff", *command, "--quiet", "--config", root / "pyproject.toml"]
        done = subprocess.run(
            [*ruff, "--stdin-filename", path, "-"], input=source, capture_output=True, text=True, check=True, cwd=root
        )
        source = done.stdout
    return source
