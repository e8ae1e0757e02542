"""Scaling curves as pictures: SVG that reads on a light page and on a dark one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from xml.sax.saxutils import escape, quoteattr

import msgspec

WIDTH: Final = 760
HEIGHT: Final = 380
LEFT, RIGHT, TOP, BOTTOM = 70, 690, 70, 320
"""The edges of the plot."""
LETTERS: Final = 16
"""The height of a line of text."""
STYLE: Final = """
  svg { color-scheme: light dark; font: 13px system-ui, sans-serif; }
  .paper { fill: #ffffff; } .text { fill: #243b53; } .quiet { fill: #627d98; } .grid { stroke: #d9e2ec; }
  .value { fill: #243b53; stroke: #ffffff; stroke-width: 4; paint-order: stroke; text-anchor: middle; }
  .line { fill: none; stroke-width: 2.5; } .budget { fill: none; stroke-width: 1.5; stroke-dasharray: 6 5; }
  .c0 { stroke: #2563eb; } .c1 { stroke: #15803d; } .c2 { stroke: #b45309; }
  .f0 { fill: #2563eb; } .f1 { fill: #15803d; } .f2 { fill: #b45309; }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117; } .text { fill: #e6edf3; } .quiet { fill: #9aa7b4; } .grid { stroke: #30363d; }
    .value { fill: #e6edf3; stroke: #0d1117; }
    .c0 { stroke: #79a8ff; } .c1 { stroke: #56d07f; } .c2 { stroke: #f0a858; }
    .f0 { fill: #79a8ff; } .f1 { fill: #56d07f; } .f2 { fill: #f0a858; }
  }
"""

Point = tuple[float, float]


class Curves(msgspec.Struct, frozen=True, kw_only=True):
    """What one picture shows: lines over a logarithmic axis."""

    title: str
    x: str
    """What the axis at the bottom counts."""
    y: str
    """The unit of the axis at the left, which begins at 0."""
    lines: Mapping[str, Sequence[Point]]
    """Up to three, by name, over the same numbers."""
    budgets: Mapping[str, float]
    """The limit of each line."""


def svg(curves: Curves) -> str:
    """The picture."""
    return "\n".join(_elements(curves)) + "\n"


def _elements(curves: Curves) -> Iterator[str]:
    numbers = [x for x, _ in next(iter(curves.lines.values()))]
    step, top = _scale(max([*curves.budgets.values(), *[y for line in curves.lines.values() for _, y in line]]))
    low, high = math.log10(numbers[0]), math.log10(numbers[-1])

    def across(x: float) -> float:
        return LEFT + 30 + (math.log10(x) - low) / (high - low) * (RIGHT - LEFT - 60)

    def up(y: float) -> float:
        return BOTTOM - y / top * (BOTTOM - TOP)

    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f"aria-label={quoteattr(curves.title)}>"
    )
    yield f"<style>{STYLE}</style>"
    yield f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>'
    yield f'<text class="text" x="{LEFT}" y="30" font-size="16">{escape(curves.title)}</text>'
    yield f'<text class="quiet" x="{LEFT}" y="52">{escape(curves.y)}; dashed: the budget</text>'
    for number in range(round(top / step) + 1):
        y = up(number * step)
        yield f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{RIGHT}" y2="{y:.1f}"/>'
        yield f'<text class="quiet" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number * step:,.0f}</text>'
    for x in numbers:
        yield f'<text class="quiet" x="{across(x):.1f}" y="{BOTTOM + 20}" text-anchor="middle">{x:,.0f}</text>'
    center = (LEFT + RIGHT) / 2
    yield f'<text class="text" x="{center}" y="{BOTTOM + 44}" text-anchor="middle">{escape(curves.x)}</text>'
    for index, (name, line) in enumerate(curves.lines.items()):
        budget = up(curves.budgets[name])
        yield f'<path class="budget c{index}" d="M{LEFT} {budget:.1f}H{RIGHT}"/>'
        path = "L".join([f"{across(x):.1f} {up(y):.1f}" for x, y in line])
        yield f'<path class="line c{index}" d="M{path}"/>'
        for x, y in line:
            yield f'<circle class="f{index}" cx="{across(x):.1f}" cy="{up(y):.1f}" r="4"/>'
    # Last, so that no line runs through them; the lowest of several stands below its point, where there is room.
    for points in zip(*curves.lines.values(), strict=True):
        for x, y in points:
            off = 20 if len(points) > 1 and y == min(points)[1] else -11
            yield f'<text class="value" x="{across(x):.1f}" y="{up(y) + off:.1f}">{y:,.0f}</text>'
    ends = {name: up(line[-1][1]) + 4 for name, line in curves.lines.items()}
    for index, (name, y) in enumerate(_apart(ends).items()):
        yield f'<text class="f{index}" x="{RIGHT + 6}" y="{y:.1f}">{escape(name)}</text>'
    yield "</svg>"


def _apart(places: Mapping[str, float]) -> dict[str, float]:
    """The same places, moved up where one would touch the next one below it; in the same order."""
    moved, limit = dict(places), math.inf
    for name in sorted(places, key=places.__getitem__, reverse=True):
        moved[name] = limit = min(places[name], limit - LETTERS)
    return moved


def _scale(highest: float) -> tuple[float, float]:
    """The step between two lines of the grid and the top of the axis: some five steps, each a round number."""
    rough = highest / 5
    ten = 10.0 ** math.floor(math.log10(rough))
    step = next(ten * factor for factor in (1, 2, 5, 10) if ten * factor >= rough)
    return step, math.ceil(highest / step) * step
