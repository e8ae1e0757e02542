"""Hooks of the documentation site: what the pages link to outside the documentation is on the site too.

MkDocs loads this file (`hooks` in `mkdocs.yml`). A link is written as it works in the checkout. On the site,

- `CHANGELOG.md` and the like are pages, and so are those of the examples;
- a file that is not a page, of an example or a test, is a page that shows it; a folder is one that shows its files.

A link to what does not exist stays as it is, and fails the build. Sequence diagrams are drawn.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import _sequence_diagrams
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "examples/README.md", "examples/*/README.md")
"""Patterns of the pages of the site that are not in `docs`."""

_LOG = get_plugin_logger("site")
_LINK = re.compile(r"^```.*?^```$|`[^`\n]*`|\]\((?P<target>[^):#\s]+)(?P<rest>#[^)\s]*)?\)", re.MULTILINE | re.DOTALL)
_LANGUAGES = {
    ".html": "html",
    ".js": "javascript",
    ".json": "json",
    ".proto": "protobuf",
    ".py": "python",
    ".toml": "toml",
}


def on_config(config: MkDocsConfig) -> None:
    """Draw the diagrams, where the theme would load a program for it from another host."""
    config.mdx_configs["pymdownx.superfences"] = {
        "custom_fences": [{"name": "mermaid", "class": "sequence", "format": _diagram}]
    }


def _diagram(source: str, *_: Any, **__: Any) -> str:
    try:
        return f'<div class="diagram">{_sequence_diagrams.svg(source)}</div>'
    except ValueError as error:  # the extension would show the text instead
        _LOG.warning("%s\n%s", error, source)
        return ""


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages that are not in `docs`."""
    for path in sorted(path for pattern in PAGES for path in ROOT.glob(pattern)):
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    for file in list(files.documentation_pages()):
        for match in _LINK.finditer(file.content_string):
            if match["target"] and (source := _source(file.src_uri, match["target"], files)):
                shown = File.generated(config, f"source/{source}.md", content=_shown(ROOT / source))
                shown.inclusion = InclusionLevel.NOT_IN_NAV
                files.append(shown)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links within the checkout into links within the site."""
    if page.file.src_uri.startswith("source/"):
        return markdown

    def moved(match: re.Match[str]) -> str:
        if not match["target"]:
            return match[0]
        path = _path(page.file.src_uri, match["target"])
        uri = next(_on_site(path, files), None)
        return f"]({'../' * page.file.src_uri.count('/')}{uri}{match['rest'] or ''})" if uri else match[0]

    return _LINK.sub(moved, markdown)


def _path(page: str, target: str) -> str:
    """Where a link of a page leads, relative to the checkout."""
    folder = ROOT / "docs" if (ROOT / "docs" / page).exists() else ROOT
    return os.path.relpath((folder / page).parent / target, ROOT)


def _source(page: str, target: str, files: Files) -> str | None:
    """The file or folder of the checkout that a link leads to, unless the site has it already."""
    path = _path(page, target)
    return path if (ROOT / path).exists() and not any(_on_site(path, files)) else None


def _on_site(path: str, files: Files) -> Iterator[str]:
    """Where the site has a file of the checkout: as a page or a picture, or as a page that shows it."""
    for uri in (path.removeprefix("docs/"), f"source/{path}.md"):
        if (file := files.get_file_from_path(uri)) and file.inclusion is not InclusionLevel.EXCLUDED:
            yield uri


def _shown(path: Path) -> str:
    """A page with the text of a file, or of the files of a folder."""
    name = path.relative_to(ROOT).as_posix()
    files = sorted(file for file in path.glob("[!.]*") if file.is_file()) if path.is_dir() else [path]
    parts = [f"# {name}"]
    for file in files:
        parts += [f"## {file.name}"] if path.is_dir() else []
        parts += [f"````{_LANGUAGES.get(file.suffix, 'text')}\n{file.read_text(encoding='utf-8')}````"]
    return "---\nsearch:\n  exclude: true\n---\n\n" + "\n\n".join(parts) + "\n"
