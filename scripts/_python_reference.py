"""Render the reference of the Python packages: a page for each public module, from its docstrings.

The pages are plain Markdown, so that they read well in the repository and in an editor too, and are compared like the
rest of what is generated. That is why no extension of the site writes them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import griffe
from _reference_page import ReferencePage, anchor, code, row


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A public module, or a part of it that has a page of its own."""

    module: str
    page: str = ""
    """The stem of the page; empty: the name of the module."""
    title: str = ""
    """The heading; empty: the name of the module."""
    about: str = ""
    """What comes first; empty: the docstring of the module."""
    defined_in: str = ""
    """A pattern of the modules in which the names of this part are defined."""


PARTS = (
    _Part(module="mcp_client", page="mcp_client-async", title="The asynchronous client", defined_in=r"_aio"),
    _Part(
        module="mcp_client",
        page="mcp_client-sync",
        title="The blocking client",
        about="Names of `mcp_client` for programs without an event loop.",
        defined_in=r"_sync",
    ),
    _Part(
        module="mcp_client",
        page="mcp_client-values",
        title="Values of the client",
        about="Names of `mcp_client` that both clients share: what they take and return.",
        defined_in=r"(?!_aio|_sync|errors)",
    ),
    _Part(
        module="mcp_client",
        page="mcp_client-errors",
        title="Errors of the client",
        about="Names of `mcp_client`: what calls raise. [Errors](../../errors.md) says what to do about each.",
        defined_in=r"errors",
    ),
    _Part(module="mcp_client.integrations.aiohttp"),
    _Part(module="mcp_client.integrations.fastapi"),
    _Part(module="mcp_client.integrations.flask"),
    _Part(module="mcp_client.integrations.langchain"),
    _Part(module="mcp_server.settings"),
    _Part(module="mcp_server.interfaces"),
    _Part(module="mcp_server.principal"),
    _Part(module="mcp_server.values"),
    _Part(module="mcp_server.errors"),
    _Part(module="mcp_server.testing"),
)
"""The pages, in their order."""


def render(root: Path) -> Iterator[ReferencePage]:
    """The pages of the modules.

    Args:
        root: the folder in which the packages are.
    """
    loader = griffe.GriffeLoader(search_paths=[root], allow_inspection=False)
    pages = [_page(part, loader.load(part.module)) for part in PARTS]
    for page in pages:
        yield replace(page, body=_linked(page, pages))


def _page(part: _Part, module: griffe.Object | griffe.Alias) -> ReferencePage:
    assert isinstance(module, griffe.Module)
    names: list[tuple[str, str]] = []
    lines: list[str] = []
    for name, member in _public(module):
        if not re.match(part.defined_in, member.path.removeprefix(module.path + ".")):
            continue
        described = list(_member(name, member))
        if described:
            names.append((name, anchor(name)))
            lines += described
    about = part.about or _markdown(module.docstring)
    return ReferencePage(
        path=f"python/{part.page or part.module}.md",
        title=part.title or f"`{part.module}`",
        source=f"the docstrings of {part.module}",
        body="\n".join([about, "", *lines]),
        names=tuple(names),
    )


def _member(name: str, member: griffe.Object) -> Iterator[str]:
    if isinstance(member, griffe.Class):
        yield from _class(name, member)
    elif isinstance(member, griffe.Function):
        yield from (f"## `{name}`", "", *_signature(name, member), _markdown(member.docstring), "")
    elif isinstance(member, griffe.Attribute) and member.docstring:
        yield from (f"## `{name}`", "", f"```python\n{name} = {member.value}\n```", "")
        yield from (_markdown(member.docstring), "")


def _linked(page: ReferencePage, pages: Sequence[ReferencePage]) -> str:
    """The body of a page in which the names of its package are links, where they are not headings or in code."""
    package = re.split(r"[.-]", page.path)[0]
    near = [page, *(other for other in pages if other is not page and re.split(r"[.-]", other.path)[0] == package)]
    targets: dict[str, str] = {}
    for other in reversed(near):
        folder = "" if other is page else other.path.removeprefix("python/")
        targets |= {name: folder + place for name, place in other.names}
    current = ""

    def link(match: re.Match[str]) -> str:
        nonlocal current
        if match["heading"]:
            current = match["heading"]
        target = targets.get(match["name"] or "")
        return f"[`{match['name']}`]({target})" if target and match["name"] != current else match[0]

    return re.sub(
        r"^```.*?^```$|^## `(?P<heading>\w+)`.*?$|^#.*?$|``.*?``|(?<!\[)`(?P<name>\w+)`|`[^`\n]*`",
        link,
        page.body,
        flags=re.MULTILINE | re.DOTALL,
    )


def _public(module: griffe.Module) -> Iterator[tuple[str, griffe.Object]]:
    """What the module exports; without ``__all__``, what it defines itself under a public name."""
    exported = module.exports
    for name, member in module.members.items():
        if exported is None and (name.startswith("_") or member.is_alias):
            continue
        if exported is not None and name not in exported:
            continue
        target = member.final_target if isinstance(member, griffe.Alias) else member
        if not isinstance(target, griffe.Module):
            yield name, target


def _class(name: str, cls: griffe.Class) -> Iterator[str]:
    parts = {part.name for part in _parts(cls)}
    bases = [str(base) for base in cls.bases if str(base) not in parts and not str(base).startswith("_")]
    yield from (f"## `{name}`", "")
    if bases:
        yield from ("Bases: " + ", ".join(code(base) for base in bases), "")
    # One that says nothing of itself is set up as its parent is.
    described = cls if cls.docstring is not None else next((base for base in cls.resolved_bases if base.docstring), cls)
    yield from (_markdown(described.docstring), "")
    public = [
        member
        for part in (cls, *_parts(cls))
        for key, member in part.members.items()
        if not key.startswith("_") and not member.is_alias and key != "model_config"  # that is for Pydantic
    ]
    values = [member for member in public if isinstance(member, griffe.Attribute)]
    if values:
        yield from ("| field | type | |", "|-|-|-|")
        for value in values:
            default = "" if value.value is None or "property" in value.labels else f" = {value.value}"
            kind = code(f"{value.annotation or ''}{default}".strip()) if value.annotation or default else ""
            yield row(f"`{value.name}`", kind, _markdown(value.docstring))
        yield ""
    init = described.members.get("__init__")
    if isinstance(init, griffe.Function):
        yield from _signature(name, init)
    for method in public:
        if isinstance(method, griffe.Function):
            yield from (f"### `{name}.{method.name}`", "", *_signature(method.name, method))
            yield from (_markdown(method.docstring), "")


def _parts(cls: griffe.Class) -> Iterator[griffe.Class]:
    """The classes of a client's private modules that a class is composed of, each after its own parts."""
    for base in cls.resolved_bases:
        if isinstance(base, griffe.Class) and re.match(r"mcp_client\._(aio|sync)\.", base.path):
            yield from _parts(base)
            yield base


def _signature(name: str, function: griffe.Function) -> Iterator[str]:
    parameters = [parameter for parameter in function.parameters if parameter.name not in ("self", "cls")]
    marked = list(_marked(parameters))
    arrow = f" -> {function.returns}" if function.returns and name == function.name else ""
    prefix = ("async def " if "async" in function.labels else "def ") if name == function.name else ""
    line = f"{prefix}{name}({', '.join(marked)}){arrow}"
    if len(line) > 100:
        line = f"{prefix}{name}(\n" + "".join(f"    {part},\n" for part in marked) + f"){arrow}"
    yield from (f"```python\n{line}\n```", "")


def _marked(parameters: Sequence[griffe.Parameter]) -> Iterable[str]:
    """Each parameter as it is written, with the bare star before the first that is keyword-only."""
    stars: dict[griffe.ParameterKind | None, str] = {
        griffe.ParameterKind.var_positional: "*",
        griffe.ParameterKind.var_keyword: "**",
    }
    starred = False
    for parameter in parameters:
        if parameter.kind is griffe.ParameterKind.keyword_only and not starred:
            yield "*"
        starred = starred or parameter.kind in (griffe.ParameterKind.keyword_only, griffe.ParameterKind.var_positional)
        annotation = f": {parameter.annotation}" if parameter.annotation else ""
        variadic = parameter.kind in stars
        default = "" if parameter.default is None or variadic else f" = {parameter.default}"
        yield (stars[parameter.kind] if variadic else "") + parameter.name + annotation + default


def _markdown(docstring: griffe.Docstring | None) -> str:
    """A docstring as Markdown: roles and double back-ticks to code, indented blocks after ``::`` to fenced ones."""
    if docstring is None:
        return ""
    text = re.sub(r":[a-z]+:`~?([^`<]+?)`", r"`\1`", docstring.value).replace("``", "`")
    text = re.sub(r"^(Args|Attributes|Raises|Returns|Yields):$", r"**\1**\n", text, flags=re.MULTILINE)
    lines: list[str] = []
    fenced = False
    section = False
    for line in text.splitlines():
        if fenced and line and not line.startswith(" "):
            lines += ["```", ""]
            fenced = False
        if line.startswith("**") and line.endswith("**"):
            section = True
        elif line and not line.startswith(" "):
            section = False
        if line.endswith("::"):
            lines += [line[:-1] if line != "::" else "", "", "```text"]
            fenced = True
        elif fenced:
            lines.append(line.removeprefix("    "))
        elif section and line.startswith("    ") and line[4:5] != " ":
            lines.append("- " + re.sub(r"^(\*{0,2}\w+): ", r"`\1`: ", line.strip()))
        elif section and line.startswith("        "):
            lines.append("  " + line.strip())
        else:
            lines.append(line.strip())
    if fenced:
        lines.append("```")
    return re.sub(r"```text\n+(.*?)\n*```$", _highlighted, "\n".join(lines), flags=re.DOTALL | re.MULTILINE).strip()


def _highlighted(block: re.Match[str]) -> str:
    """A block of code, as Python if it is that."""
    try:
        compile(block[1], "", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except SyntaxError:
        return f"```text\n{block[1]}\n```"
    return f"```python\n{block[1]}\n```"
