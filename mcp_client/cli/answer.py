"""Renders answers of a model for a terminal."""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import Markdown
from rich.segment import Segment

from mcp_client.cli.terminal import visible


class FormattedAnswer:
    """An answer as Markdown that keeps its line breaks, for example of poems, addresses and unfenced code.

    Its control characters are shown, those too that Markdown decodes: links can contain them as ``%1b``.
    """

    def __init__(self, text: str) -> None:
        self._markdown = Markdown(visible(text))
        for token in self._markdown.parsed:
            for child in token.children or ():
                if child.type == "softbreak":
                    child.type = "hardbreak"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._markdown, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


class Tail:
    """The last lines of a growing answer, as many as fit on the screen."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(FormattedAnswer(self._text), options, pad=False)
        for line in lines[1 - console.height :]:
            yield from line
            yield Segment.line()
