"""Render the error classes of the Python client from the classes in `mcp_server/errors.py`, and export them."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from pathlib import Path

from _sections import filled

from mcp_server.errors import BY_REASON, MCPError, RetryAdvice

SOURCE = "mcp_server/errors.py"
WIDTH = 120


def errors(root: Path) -> str:
    """The module `mcp_client/errors.py` of the checkout ``root``: a class for each reason that has none by hand."""
    path = root / "mcp_client" / "errors.py"
    text = path.read_text(encoding="utf-8")
    by_hand = set(_bases(filled(path, SOURCE, "", comment="# {}")))
    kinds = [kind for kind in BY_REASON.values() if kind.__name__ not in by_hand]
    classes = "\n\n".join([_class(kind) for kind in kinds])
    text = filled(path, SOURCE, f"\n{classes}\n", comment="# {}")
    return re.sub(r"(?<=\n    MCPError\n).*?(?=\n\n)", lambda tree: _tree(_bases(text), tree[0]), text, flags=re.DOTALL)


def exports(root: Path) -> str:
    """The module `mcp_client/__init__.py` of the checkout ``root``: with all errors, and with a sorted ``__all__``."""
    text = (root / "mcp_client" / "__init__.py").read_text(encoding="utf-8")
    names = "".join([f"    {name},\n" for name in sorted(_bases(errors(root)))])
    text = re.sub(r"(?<=from mcp_client.errors import \(\n).*?(?=\))", names, text, flags=re.DOTALL)
    imports = [node for node in ast.parse(text).body if isinstance(node, ast.ImportFrom)]
    public = sorted([each.name for node in imports for each in node.names], key=lambda name: (not name.isupper(), name))
    listed = "".join([f'    "{name}",\n' for name in public])
    return re.sub(r"(?<=__all__ = \[\n).*?(?=\])", listed, text, flags=re.DOTALL)


def _class(kind: type[MCPError]) -> str:
    doc = textwrap.fill(f'"""{" ".join((inspect.getdoc(kind) or "").split())}', WIDTH - 7).replace("\n", "\n    ")
    retryable = ", retryable=True" if kind.retry is RetryAdvice.SAME_REQUEST else ""
    head = f'class {kind.__name__}({kind.__bases__[0].__name__}, reason="{kind.reason}"{retryable}):'
    return f'{head}\n    {doc}"""\n'


def _bases(source: str) -> dict[str, str]:
    """The public classes of a module, in their order, and the first base of each; empty if it has none."""
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    return {node.name: ast.unparse(node.bases[0]) if node.bases else "" for node in classes}


def _tree(bases: dict[str, str], drawn: str) -> str:
    """The tree below ``MCPError``, in the order of the server's, with the notes that stand in the one drawn before."""
    notes = dict(re.findall(r"─ (\w+) +(\S.*)", drawn))
    order = [kind.__name__ for branch in MCPError.__subclasses__() for kind in (branch, *branch.__subclasses__())]
    ranked = sorted(bases, key=lambda name: order.index(name) if name in order else len(order))

    def lines(parent: str, indent: str) -> list[str]:
        children = [name for name in ranked if bases[name] == parent]
        found = []
        for name in children:
            last = name == children[-1]
            line = f"{indent}{'└──' if last else '├──'} {name}"
            found.append(f"{line:34}{notes[name]}" if name in notes else line)
            found += lines(name, f"{indent}{'    ' if last else '│   '}")
        return found

    return "\n".join(lines("MCPError", "    "))
