"""Translates the paths of fields: an error names a field as its caller wrote it, not as the contract does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from mcp_server.errors import InvalidArgument, Violation

_MESSAGE: Final = re.compile(r"messages\[(\d+)\](?:\.parts\[(\d+)\])?(.*)")
_OF_PART: Final = re.compile(r"(?:\.tool_result\.parts\[\d+\])?\.(?:text|blob)\b.*|\.tool_result")
"""Within a part: what needs no name of its own, since the path of the part leads to it."""
_FIELDS: Final[Mapping[str, str]] = {
    "config.": "",
    "provider_options.": "",
    "request_id": "Idempotency-Key",
    "tool_choice.mode": "tool_choice",
}


class Names:
    """The names of the fields of one request.

    Args:
        fields: the beginnings of paths in the contract, and what callers write instead; beside those that all requests
            have in common.
        patterns: the same for paths that hold indices.
    """

    def __init__(self, fields: Mapping[str, str], patterns: Mapping[str, str] | None = None) -> None:
        both = {**_FIELDS, **fields}
        self._fields = sorted(both.items(), key=lambda pair: -len(pair[0]))
        self._patterns = [(re.compile(pattern), name) for pattern, name in (patterns or {}).items()]

    @contextmanager
    def translating(self, messages: Sequence[MessageNames] = ()) -> Iterator[None]:
        """Let errors name the fields as the caller wrote them.

        Args:
            messages: the names of each message of the request.
        """
        try:
            yield
        except InvalidArgument as error:
            if not error.violations:
                raise
            violations = [
                Violation(field=self.name(one.field, messages), description=one.description) for one in error.violations
            ]
            raise InvalidArgument(violations, more=error.more) from None

    def name(self, field: str, messages: Sequence[MessageNames] = ()) -> str:
        """What the caller wrote where the contract has ``field``."""
        if match := _MESSAGE.fullmatch(field):
            index, part, rest = int(match[1]), match[2], match[3]
            return messages[index].name(None if part is None else int(part), rest) if index < len(messages) else field
        for pattern, name in self._patterns:
            if match := pattern.match(field):
                return match.expand(name) + field[match.end() :]
        for beginning, name in self._fields:
            if field.startswith(beginning):
                return name + field[len(beginning) :]
        return field


class MessageNames(tuple[str, ...]):
    """The path of a message, and then that of each of its parts, relative to the message: ``content[0].text``."""

    __slots__ = ()

    def name(self, part: int | None, rest: str) -> str:
        """The path of the message, or of something in it."""
        path = self[0]
        if part is None or part + 1 >= len(self):
            return path if rest == ".parts" else path + rest
        return ".".join(filter(None, (path, self[part + 1]))) + self.within(rest)

    def within(self, rest: str) -> str:
        """What the caller wrote where the contract has ``rest`` within a part."""
        return _OF_PART.sub("", rest, count=1) if rest else rest
