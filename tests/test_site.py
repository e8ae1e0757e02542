"""The documentation is a site that nobody has to trust: it is complete, and asks no other host for anything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.browsers import CHROMIUM, chromium

ROOT = Path(__file__).parent.parent

MISTAKES = """\
# Extra

[page](gone.md), [file](../gone.txt), [heading](setup.md#no-such-heading)

```mermaid
sequenceDiagram
    participant B
    A->>B: from nobody
```
"""


def build(folder: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """What `scripts/docs` runs."""
    return subprocess.run(
        (sys.executable, "-m", "mkdocs", "build", "--site-dir", site),
        cwd=folder,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": "scripts"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of the checkout."""
    target = tmp_path_factory.mktemp("site")
    done = build(ROOT, target)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def test_every_page_is_on_the_site(site: Path) -> None:
    """Those beside the documentation too."""
    names = [page.relative_to(ROOT / "docs").with_suffix("").as_posix() for page in ROOT.glob("docs/**/*.md")]
    names += [page.parent.relative_to(ROOT).as_posix() + "/README" for page in ROOT.glob("examples/*/README.md")]
    names += ["CHANGELOG", "CONTRIBUTING", "SECURITY", "examples/README"]
    missing = [name for name in names if not (site / f"{name.replace('README', 'index')}.html").is_file()]
    assert not missing


def test_nothing_comes_from_another_host(site: Path) -> None:
    """No script, style, font or picture: a reader without a network sees the same."""
    loaded = re.compile(r"""<(?:script|link|img|iframe|source)[^>]*\s(?:src|href)=["']?(?:https?:)?//""")
    for page in site.rglob("*.html"):
        assert not loaded.search(page.read_text()), page
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(?:https?:)?//|@import", style.read_text()), style


def test_a_link_to_a_file_of_the_checkout_shows_the_file(site: Path) -> None:
    """Of an example and of a folder; a link to a page outside the documentation leads to that page."""
    assert 'href="../source/examples/web/chat.html.html"' in (site / "clients" / "web.html").read_text()
    assert "EventSource" in (site / "source" / "examples" / "web" / "chat.html.html").read_text()
    assert "openai.js" in (site / "source" / "tests" / "web" / "node.html").read_text()
    assert 'href="SECURITY.html"' in (site / "security.html").read_text()


def test_diagrams_are_drawn(site: Path) -> None:
    """Each as a picture, and none is left as text."""
    page = (site / "streaming.html").read_text()
    assert page.count('<svg class="sequence"') == (ROOT / "docs" / "streaming.md").read_text().count("```mermaid")
    assert "sequenceDiagram" not in page


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, and logs nothing."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which a folder is served, as any web server does it."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
async def test_the_search_finds_a_page_without_another_host(site: Path) -> None:
    """In the browser: the index is a file of the site."""
    asked: list[str] = []
    with served(site) as address:
        async with chromium() as browser:
            page = await browser.new_page()
            page.on("request", lambda request: asked.append(request.url))
            await page.goto(address)
            await page.keyboard.press("/")
            await page.keyboard.type("rewind")
            await page.locator(".md-search-result__link[href*='sessions.html']").first.wait_for()
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


def test_the_build_fails_on_what_a_reader_would_stumble_over(tmp_path: Path) -> None:
    """It names each link that leads nowhere, diagram that cannot be drawn, and page without a place in the contents."""
    for name in ("docs", "examples", "scripts", "tests/web/node"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
    for name in ("mkdocs.yml", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    (tmp_path / "docs" / "extra.md").write_text(MISTAKES)
    (tmp_path / "docs" / "usage.md").unlink()
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    warnings = "".join(re.findall(r"^WARNING.*\n(?:  .*\n)*", done.stdout + done.stderr, re.MULTILINE))
    for mistake in ("'gone.md'", "'../gone.txt'", "#no-such-heading", "no participant 'A'", "- extra.md", "'usage.md'"):
        assert mistake in warnings
