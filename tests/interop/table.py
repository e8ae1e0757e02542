"""The table of cases and languages: in docs/clients/README.md, and at the end of the tests.

``python -m tests.interop.table`` writes it into the page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from tests.interop.languages import LANGUAGES

PAGE = Path(__file__).parents[2] / "docs" / "clients" / "README.md"
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
        tests = [f"test_{name}[{language.folder}]" for language in LANGUAGES]
        marks = [MARKS.get(outcomes.get(test, ""), "") if outcomes is not None else "✓" for test in tests]
        rows.append([f"`{name}`", *marks, meaning])
    rows.insert(1, ["---", *[":-:"] * len(LANGUAGES), "---"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def written(page: str) -> str:
    """The page with the table as it is now."""
    before, begin, rest = page.partition("<!-- table -->\n")
    _, end, after = rest.partition("<!-- end of the table -->\n")
    assert begin and end
    return f"{before}{begin}\n{render()}\n\n{end}{after}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
