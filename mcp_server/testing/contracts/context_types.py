"""The contract of context types, as tests for their authors::

    class TestTable(ContextTypeContract):
        context_type = TableType()
        valid = (ContextEntry(type="table", kind="json", json=[[1, 2]]),)
        invalid = (ContextEntry(type="table", kind="text", text="1, 2"),)

pytest runs every test of the contract on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mcp_server.interfaces import ContextType
from mcp_server.values import ContextEntry


class ContextTypeContract:
    """What every context type does. Set the three attributes."""

    context_type: ClassVar[ContextType]
    valid: ClassVar[Sequence[ContextEntry]]
    """Entries that it accepts, at least one."""
    invalid: ClassVar[Sequence[ContextEntry]]
    """Entries that it refuses, at least one."""

    def test_a_valid_entry_is_accepted(self) -> None:
        """There is nothing to report."""
        assert self.valid
        assert [self.context_type.validate(entry) for entry in self.valid] == [None] * len(self.valid)

    def test_an_invalid_entry_is_refused_with_a_reason(self) -> None:
        """The reason is for the author of the entry."""
        assert self.invalid
        for entry in self.invalid:
            reason = self.context_type.validate(entry)
            assert isinstance(reason, str)
            assert reason.strip()

    def test_every_kind_of_value_is_judged(self) -> None:
        """Whatever a caller sends, the answer is None or a reason, not an exception."""
        type_ = self.valid[0].type
        for entry in (
            ContextEntry(type=type_, kind="text"),
            ContextEntry(type=type_, kind="json", json=None),
            ContextEntry(type=type_, kind="json", json={"a": [1, "b", None]}),
            ContextEntry(type=type_, kind="data", data=b"\xff\x00", mime_type="application/octet-stream"),
            ContextEntry(type=type_, kind="data", data=b"\xff", mime_type="text/plain"),
        ):
            reason = self.context_type.validate(entry)
            assert reason is None or reason.strip()

    def test_a_valid_entry_is_rendered_alike_each_time(self) -> None:
        """A prompt that changes between two turns would defeat the caches of providers."""
        for entry in self.valid:
            text = self.context_type.render("name", entry)
            assert text.strip()
            assert self.context_type.render("name", entry) == text
