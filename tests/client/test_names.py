"""The ids of sessions that are made of the names of users."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcp_client import session_id_for
from mcp_server.rules.limits import SESSION_ID

names = st.text(min_size=1).filter(str.strip) | st.from_regex(
    re.compile(r"[a-zA-Z0-9@._|-]{1,80}", re.ASCII), fullmatch=True
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # the first text of a checkout waits for tables of Unicode
@given(names, names)
def test_every_name_has_an_id_of_its_own(one: str, other: str) -> None:
    """A valid one, always the same."""
    assert SESSION_ID.fullmatch(session_id_for(one))
    assert (session_id_for(one) == session_id_for(other)) is (one == other)


def test_an_id_can_be_read_and_is_the_same_everywhere() -> None:
    """Stored conversations are found again by any version and on any machine."""
    assert session_id_for("Ada@example.com") == "ada-example-com-f2cca5033d465f2b66639bf55509d00e"
    assert session_id_for("42") == "user-42-c93050b1b9ffe92153f7f1f648d35080"
    assert session_id_for("\ud800").startswith("user-")


def test_a_user_may_have_several_conversations() -> None:
    """And names cannot be put together in two ways."""
    ids = {session_id_for(*names) for names in (("a", "b"), ("ab",), ("a-b",), ("a", "", "b")[::2], ("b", "a"), ("a",))}
    assert len(ids) == 5


@pytest.mark.parametrize("names", [(), ("",), (" ",), ("ada", "")])
def test_no_name_is_no_user(names: tuple[str, ...]) -> None:
    """All visitors without one would read each other's conversation."""
    with pytest.raises(ValueError, match="not empty"):
        session_id_for(*names)


def test_a_missing_name_is_no_user() -> None:
    """As of a header that is not there."""
    with pytest.raises(TypeError, match="expected names"):
        session_id_for(None)  # type: ignore[arg-type]
