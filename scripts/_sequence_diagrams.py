"""Draw the sequence diagrams of the documentation as SVG.

The pages write them in the language of Mermaid, which code hosts draw. The site draws them itself when it is built: a
reader needs no JavaScript for it, and no other host. What the pages use of the language is here: participants,
messages, notes over one participant or two, and alternatives. Anything else is an error.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from html import escape

_PARTICIPANT = re.compile(r"participant (\w+)(?: as (.+))?")
_MESSAGE = re.compile(r"(\w+)(--?)(>>|x)(\w+): (.+)")
_NOTE = re.compile(r"Note over (\w+)(?:,\s?(\w+))?: (.+)")
_FRAME = re.compile(r"(alt|else) (.+)|(end)")

CHARACTER = 7.3
"""The width of a character, in pixels, as it is at most on average."""
LINE = 18
MARGIN = 14
HEAD = 34


def svg(source: str) -> str:
    """A diagram as an SVG element on one line.

    Args:
        source: the diagram, beginning with `sequenceDiagram`.

    Raises:
        ValueError: a line is none of those that are known here.
    """
    head, *lines = [line.strip() for line in source.strip().splitlines()]
    if head != "sequenceDiagram":
        raise ValueError(f"not a sequence diagram: {head!r}")
    return "".join(_Diagram(lines).draw())


class _Diagram:
    """The lines of a diagram, and where its participants stand."""

    def __init__(self, lines: list[str]) -> None:
        self._names = {match[1]: match[2] or match[1] for line in lines if (match := _PARTICIPANT.fullmatch(line))}
        if not self._names:
            raise ValueError("a sequence diagram names its participants")
        self._lines = [line for line in lines if not _PARTICIPANT.fullmatch(line)]
        self._columns = {name: column for column, name in enumerate(self._names)}
        notes = [_width(match[3]) for line in self._lines if (match := _NOTE.fullmatch(line))]
        heads = [_width(title) for title in self._names.values()]
        margin = max([*notes, *heads]) / 2 + 2 * MARGIN
        gaps = self._gaps(heads)
        self._places = [margin + sum(gaps[:column]) for column in range(len(self._names))]
        self._right = self._places[-1] + margin
        self._y: float = HEAD + LINE

    def _gaps(self, heads: list[float]) -> list[float]:
        """The distances between neighbours: no head and no message is wider than its place."""
        gaps = [(left + right) / 2 + 3 * MARGIN for left, right in itertools.pairwise(heads)]
        messages = [match for line in self._lines if (match := _MESSAGE.fullmatch(line))]
        spans = [(sorted((self._column(match[1]), self._column(match[4]))), _width(match[5])) for match in messages]
        for (first, last), width in sorted(spans, key=lambda span: span[0][1] - span[0][0]):
            missing = width + 2 * MARGIN - sum(gaps[first:last])
            for column in range(first, last):
                gaps[column] += max(0, missing) / (last - first)
        return gaps

    def draw(self) -> Iterator[str]:
        """The SVG: lifelines first, so that the rest lies upon them."""
        body = [part for line in self._lines for part in self._line(line)]
        height = self._y + MARGIN
        title = escape(" and ".join(self._names.values()))
        yield f'<svg class="sequence" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self._right:g} {height:g}" '
        yield f'style="max-width:{self._right:g}px" role="img" data-search-exclude aria-label="Sequence of {title}">'
        for name, title in self._names.items():
            x, width = self._x(name), _width(title) + 2 * MARGIN
            yield f'<path class="life" d="M{x:g} {HEAD}V{height:g}"/>'
            yield f'<rect class="head" x="{x - width / 2:g}" y="1" width="{width:g}" height="{HEAD - 2}" rx="6"/>'
            yield _text(x, HEAD / 2 + 5, title)
        yield from body
        yield "</svg>"

    def _line(self, line: str) -> Iterator[str]:
        if match := _MESSAGE.fullmatch(line):
            sender, dashes, tip, receiver, text = match.groups()
            yield from self._message(self._x(sender), self._x(receiver), text, dashed=dashes == "--", lost=tip == "x")
        elif match := _NOTE.fullmatch(line):
            yield from self._note(self._x(match[1]), self._x(match[2] or match[1]), match[3])
        elif match := _FRAME.fullmatch(line):
            yield from self._rule(match[1] or match[3], match[2] or "")
        else:
            raise ValueError(f"sequence diagrams have no {line!r} here")

    def _message(self, start: float, end: float, text: str, *, dashed: bool, lost: bool) -> Iterator[str]:
        self._y += 2 * LINE
        y, back = self._y, -1 if end > start else 1
        yield _text((start + end) / 2, y - 6, text)
        yield f'<path class="{"reply" if dashed else "call"}" d="M{start:g} {y:g}H{end:g}"/>'
        if lost:
            yield f'<path class="call" d="M{end + back * 12:g} {y - 5:g}l{-back * 10:g} 10m0 -10l{back * 10:g} 10"/>'
        else:
            yield f'<path class="tip" d="M{end:g} {y:g}l{back * 9:g} -5v10z"/>'

    def _note(self, start: float, end: float, text: str) -> Iterator[str]:
        rows = re.split(r"<br/?>", text)
        width = max(abs(end - start), *(_width(row) for row in rows)) + 2 * MARGIN
        left, top, height = (start + end - width) / 2, self._y + LINE * 0.7, LINE * len(rows) + 12
        yield f'<rect class="note" x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}"/>'
        for number, row in enumerate(rows):
            yield _text((start + end) / 2, top + LINE * (number + 1) + 1, row)
        self._y = top + height

    def _rule(self, word: str, text: str) -> Iterator[str]:
        self._y += LINE * 1.2
        yield f'<path class="frame" d="M2 {self._y:g}H{self._right - 2:g}"/>'
        if word != "end":
            self._y += LINE
            yield f'<text class="word" x="8" y="{self._y:g}">{escape(text)}</text>'

    def _column(self, name: str) -> int:
        if name not in self._columns:
            raise ValueError(f"no participant {name!r}")
        return self._columns[name]

    def _x(self, name: str) -> float:
        return self._places[self._column(name)]


def _width(text: str) -> float:
    return max(len(row) for row in re.split(r"<br/?>", text)) * CHARACTER


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x:g}" y="{y:g}">{escape(text)}</text>'
