"""The pages on clients, as far as they are made from the tests: the table, and the programs that are shown.

``python -m tests.interop.pages`` writes them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from tests.interop.languages import LANGUAGES

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "clients"
FILE = re.compile(r"(<!-- ((?:tests/interop|examples/web)/\S+) -->\n```\w+\n).*?^```\n", re.MULTILINE | re.DOTALL)
MARKS = {"passed": "✓", "skipped": "–", "failed": "✗", "error": "✗"}


def cases() -> Mapping[str, str]:
    """What each case shows, by its name."""
    from tests.interop import test_cases  # as late as that, because it needs pytest to have begun

    found = {name.removeprefix("test_"): test for name, test in vars(test_cases).items() if name.startswith("test_")}
    return {name: re.sub(r"\s+", " ", test.__doc__ or "").strip() for name, test in found.items()}


def render(outcomes: Mapping[str, str] | None = None) -> str:
    """The table in Markdown.

    Args:
        outcomes: what became of each test, by its name; without it, all have passed, as a released version's have.
    """
    rows = [["case", *[language.title for language in LANGUAGES], "what it shows"]]
    for name, meaning in cases().items():
        tests = [f"test_{name}[{language.id}]" for language in LANGUAGES]
        marks = [MARKS.get(outcomes.get(test, ""), "") if outcomes is not None else "✓" for test in tests]
        rows.append([f"`{name}`", *marks, meaning])
    rows.insert(1, ["---", *[":-:"] * len(LANGUAGES), "---"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def written(page: str) -> str:
    """The page with the table and the files as they are now: code behind a comment that is a path is that file."""
    before, begin, rest = page.partition("<!-- table -->\n")
    _, end, after = rest.partition("<!-- end of the table -->\n")
    if begin:
        page = f"{before}{begin}\n{render()}\n\n{end}{after}"
    return FILE.sub(lambda found: f"{found[1]}{(ROOT / found[2]).read_text(encoding='utf-8')}```\n", page)


def blocks(page: str) -> list[str]:
    """The code of a page."""
    return re.findall(r"^```\w+\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def stripped(code: str) -> str:
    """Code without what depends on how deep it stands."""
    return "\n".join(line.strip() for line in code.strip().splitlines())


if __name__ == "__main__":
    for path in (*PAGES.glob("*.md"), PAGES.parent / "browsers.md"):
        text = path.read_text(encoding="utf-8")
        if written(text) != text:
            path.write_text(written(text), encoding="utf-8")
