"""The answers of the embedded model to a few everyday prompts do not repeat themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from mcp_client import MCPClient
from mcp_server.model_files import pull
from mcp_server.providers.llama_cpp.settings import LlamaCppModel
from tests.small_models.everyday import FACTS, MODEL, OFF, PROMPTS, answers, asking, recalled, repeats

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIRST = "Write a haiku about the sea and list three fish"
POEM = "Write a poem about autumn."
"""Without a guard the model ends it in the same line over and over."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded() -> AsyncIterator[MCPClient]:
    """A client of a server with the embedded model and its defaults."""
    pull(MODEL)
    async with asking(LlamaCppModel(), parallel=4) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def unguarded() -> AsyncIterator[MCPClient]:
    """The same without a guard."""
    pull(MODEL)
    async with asking(OFF, parallel=1) as client:
        yield client


@pytest.mark.timeout(300)
async def test_everyday_answers_do_not_loop(guarded: MCPClient) -> None:
    """The first prompt that people try, and those that loop without a guard."""
    replies = await answers(guarded, [FIRST, POEM, "Plan a weekend in Rome.", "Write a limerick about a frog."])
    assert not [answer.text for answer in replies if answer.loops]


@pytest.mark.timeout(300)
async def test_the_guard_is_what_prevents_it(unguarded: MCPClient) -> None:
    """Settings that turn it off win over the catalogue, and the options of a call over the settings."""
    (plain,) = await answers(unguarded, [POEM])
    assert plain.loops
    dry = {"dry_multiplier": 2, "dry_allowed_length": 2, "dry_penalty_last_n": 512}
    (chosen,) = await answers(unguarded, [POEM], provider_options=dry)
    assert not chosen.loops


@pytest.mark.timeout(300)
async def test_it_still_recalls_what_it_was_told(guarded: MCPClient) -> None:
    """What the user said a turn before does not count as a repetition."""
    facts = [fact for fact in FACTS if fact.word in ("banana", "violin", "soup")]
    assert await recalled(guarded, facts) == [True] * len(facts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the same line\n" * 3, False),
        ("The same line.\n  the same line.\n" * 2, True),
        ("one two three four five six seven " * 3, False),
        ("one two three four five six, " * 4, True),
        ("a list:\n\n\n\n\n\n1. a\n2. b\n", False),
        ("", False),
    ],
)
async def test_what_counts_as_a_loop(text: str, expected: bool) -> None:
    """A line or six words in a row, more than three times."""
    assert repeats(text) is expected


async def test_there_are_fifty_prompts_and_ten_facts() -> None:
    """What the page says of them."""
    assert len(set(PROMPTS)) == 50
    assert len(set(FACTS)) == 10
