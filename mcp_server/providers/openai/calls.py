"""Puts the tool calls of an answer together from their pieces, however a server cuts and numbers them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from mcp_server.interfaces import ProviderEvent, ToolArgumentsDelta, ToolCallStart
from mcp_server.providers.openai.chunks import Call, Function

_SIGNS: Final = re.compile(r'\\.|["{}\[\]]', re.DOTALL)
"""What decides where a JSON value ends."""
MAX_CALLS: Final = 1100
"""The most tool calls of one answer that are read, somewhat more than the server takes: further ones must not cost
time."""
_LEGACY: Final = -1
"""The index of the only call of servers that send ``function_call``."""


class ToolCalls:
    """The tool calls of one answer.

    A call begins when its first arguments come, or when something else does: until then its name may still grow.

    Args:
        names: the tools that were offered, which tell a piece of a name from the name of another call.
    """

    __slots__ = ("_by_id", "_by_index", "_calls", "_names", "_too_many")

    def __init__(self, names: Collection[str] = ()) -> None:
        self._calls: list[_OpenCall] = []
        self._by_index: dict[int, _OpenCall] = {}
        self._by_id: dict[str, _OpenCall] = {}
        """By the server's ids, the last one of each."""
        self._too_many = False
        self._names = frozenset(names)

    def __bool__(self) -> bool:
        return bool(self._calls)

    @property
    def complete(self) -> bool:
        """Whether each call has its name, and all of it, and none was left out."""
        return not self._too_many and all(call.name and not call.broken for call in self._calls)

    def take(self, pieces: Sequence[Call]) -> list[ProviderEvent]:
        """The events of pieces that came together."""
        events: list[ProviderEvent] = []
        named: set[_OpenCall] = set()
        for piece in pieces:
            name, arguments = _name_and_arguments(piece)
            if not (name or arguments or piece.id):
                continue  # a call of nothing is none
            call = self._present(piece, name, arguments, named)
            if call is None:
                call = self._new(piece.index)
            if call is None:
                break
            if name:
                named.add(call)
                call.rename(name)
            self._name(call, call.server_id or piece.id)
            self._add(call, arguments, events)
        return events

    def take_function(self, function: Function) -> list[ProviderEvent]:
        """The events of a piece of the only call that older servers can make."""
        if self._calls and _LEGACY not in self._by_index:
            return []  # the same call, once more
        return self.take((Call(index=_LEGACY, function=function),))

    def take_whole(self, calls: Sequence[Call]) -> list[ProviderEvent]:
        """The events of a list of all calls so far, of which only what has not come yet is new."""
        events: list[ProviderEvent] = []
        known = tuple(self._calls)
        for position, piece in enumerate(calls):
            name, arguments = _name_and_arguments(piece)
            if position < len(known):
                call = known[position]
                if call.name == name and arguments.startswith(call.text):
                    self._add(call, arguments[len(call.text) :], events)
            elif name or arguments:
                new = self._new(piece.index)
                if new is None:
                    break
                new.name = name
                self._name(new, piece.id)
                self._add(new, arguments, events)
        return events

    def begin(self) -> list[ProviderEvent]:
        """The events of the calls that have a name and have not begun: something else comes now."""
        events: list[ProviderEvent] = []
        for call in self._calls:
            self._begin(call, events)
        return events

    def end(self) -> list[ProviderEvent]:
        """The last events, at the end of the answer."""
        # An id alone is no call.
        self._calls = [call for call in self._calls if call.name or not call.blank]
        events = self.begin()
        for call in self._calls:
            if call.begun and call.held:
                events.append(ToolArgumentsDelta(id=call.id, text=call.held))
        return events

    def _present(self, piece: Call, name: str, arguments: str, named: Collection[_OpenCall]) -> _OpenCall | None:
        """The call to which a piece belongs, or ``None`` if it begins another."""
        id = piece.id or ""
        if piece.index is None:  # some servers leave it out
            same = self._by_id.get(id)
            call = same or (self._calls[-1] if self._calls else None)
            if call is not None and id and same is None and call.server_id and (name or call.is_whole):
                return None
        else:
            call = self._by_index.get(piece.index)
        if call is None:
            return None
        if not name:
            # What follows whole arguments belongs to a call that did not repeat the name, unless it is a repetition.
            return None if call.repeated and arguments.strip() and call.is_whole else call
        other_id = bool(id and call.server_id and id != call.server_id)
        if call in named:
            return None  # names do not come in pieces that come together
        if not call.name:
            return None if other_id else call
        if call.blank:
            if other_id:
                return None
            return None if self._is_another(call.name, name) else call
        if name != call.name:
            return None
        if call.is_whole:
            if arguments.strip() or other_id:
                return None
            call.repeated = True
        return call

    def _is_another(self, first: str, second: str) -> bool:
        """Whether two names are those of two calls, and not two pieces of one name."""
        if first == second or first + second in self._names:
            return False
        return first in self._names and second in self._names and not second.startswith(first)

    def _name(self, call: _OpenCall, server_id: str | None) -> None:
        if server_id:
            call.server_id = server_id
            self._by_id[server_id] = call

    def _new(self, index: int | None) -> _OpenCall | None:
        """A further call; ``None`` if there are too many."""
        if len(self._calls) == MAX_CALLS:
            self._too_many = True
            return None
        call, before = _OpenCall(), None
        if index is not None:
            before = self._by_index.get(index)
            self._by_index[index] = call
        elif self._calls:
            before = self._calls[-1]
        if before is not None and before.repeated:
            call.name = before.name
            before.repeated = False
        self._calls.append(call)
        return call

    def _begin(self, call: _OpenCall, events: list[ProviderEvent]) -> None:
        if call.begun or not call.name:
            return
        # The server's id, or one that no other call of the answer has.
        taken = not call.server_id or any(other.id == call.server_id for other in self._calls)
        call.id = f"call_{secrets.token_hex(12)}" if taken else call.server_id
        call.begun = True
        events.append(ToolCallStart(id=call.id, name=call.name))

    def _add(self, call: _OpenCall, arguments: str, events: list[ProviderEvent]) -> None:
        if not arguments:
            return
        # Some send it all once more at the end. The lengths are compared first, so that long arguments are not joined
        # for every piece.
        if abs(len(arguments) - call.size) < 8 and arguments.strip() == call.text.strip() and call.is_whole:
            return
        if call.held == "{}" and call.size == 2 and arguments.lstrip().startswith("{"):
            call.clear()  # some begin with no arguments, and then send them
        call.add(arguments)
        if not call.name or call.blank or (call.held == "{}" and call.size == 2):
            return
        if not call.begun:
            for earlier in self._calls:
                self._begin(earlier, events)
                if earlier is call:
                    break
        events.append(ToolArgumentsDelta(id=call.id, text=call.held))
        call.held = ""


class _OpenCall:
    """A tool call while it is written."""

    __slots__ = (
        "_depth",
        "_in_text",
        "_pieces",
        "_scanned",
        "begun",
        "blank",
        "broken",
        "held",
        "id",
        "name",
        "repeated",
        "server_id",
        "size",
    )

    def __init__(self) -> None:
        self.server_id = ""
        """The id from the server."""
        self.id = ""
        self.name = ""
        self.begun = False
        self.broken = False
        """Whether a piece of the name came when the call had begun."""
        self.repeated = False
        """Whether the name came again after whole arguments: it may begin another call."""
        self.clear()

    def clear(self) -> None:
        """Forget the arguments."""
        self._pieces: list[str] = []
        self.size = 0
        self.held = ""
        """What of the arguments was not passed on."""
        self.blank = True
        """Whether the arguments so far are only spaces."""
        self._scanned = self._depth = 0
        self._in_text = False

    def add(self, arguments: str) -> None:
        """Take a piece of the arguments."""
        self._pieces.append(arguments)
        self.size += len(arguments)
        self.held += arguments
        self.blank = self.blank and not arguments.strip()

    @property
    def text(self) -> str:
        """The arguments so far."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    @property
    def is_whole(self) -> bool:
        """Whether the arguments so far are a JSON object, from its first to its last bracket. Looks at each of their
        characters once."""
        text = self.text
        if not text.lstrip().startswith("{"):
            return False
        # A backslash that ends what has come is looked at again, with what it escapes.
        for match in _SIGNS.finditer(text, self._scanned):
            sign = match[0]
            if sign == '"':
                self._in_text = not self._in_text
            elif not self._in_text:
                self._depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(sign, 0)
            self._scanned = match.end()
        return self._depth == 0 and not self._in_text and text.rstrip().endswith("}")

    def rename(self, name: str) -> None:
        """Take a name, or a piece of one."""
        if name == self.name:
            return
        if self.begun:
            self.broken = self.blank  # a piece of a name that is too late; with arguments, it was another call's
            return
        self.name = name if self.name and name.startswith(self.name) else self.name + name


def _name_and_arguments(piece: Call) -> tuple[str, str]:
    """The name and the arguments in a piece, each of which may be empty."""
    function = piece.function or _NO_FUNCTION
    arguments = function.arguments if function.arguments is not None else piece.arguments
    if isinstance(arguments, dict):
        arguments = msgspec.json.encode(arguments).decode()
    return function.name or piece.name or "", arguments or ""


_NO_FUNCTION: Final = Function()
