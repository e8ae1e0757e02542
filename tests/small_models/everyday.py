"""How the embedded model does with everyday prompts: how many of its answers repeat themselves, and what it recalls.

``python -m tests.small_models.everyday`` measures it with the defaults, and ``--without`` with no guard against
repetition, through a server of its own. It takes one to five minutes. The prompts and facts
are in the files beside this one.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from mcp_client import FinishReason, MCPClient
from mcp_server.providers.llama_cpp.provider import LlamaCppProvider
from mcp_server.providers.llama_cpp.settings import LlamaCppModel, LlamaCppSettings
from mcp_server.testing import running

MODEL: Final = "smollm2-135m"
FOLDER: Final = Path(__file__).parent
PROMPTS: Final = tuple((FOLDER / "everyday_prompts.txt").read_text().splitlines())
"""What people ask first."""
LIMIT: Final = 160
"""The most tokens of an answer."""
PHRASE: Final = 6
"""How many words in a row are a phrase."""
OFTEN: Final = 3
"""A line or a phrase may come so often."""
OFF: Final = LlamaCppModel(repeat_penalty=1.0, dry_multiplier=0.0)
"""The model with no guard against repetition."""


class Fact(msgspec.Struct, frozen=True):
    """A statement of the user, and a question about it in the next turn."""

    statement: str
    question: str
    word: str
    """The word that a right answer contains, in lower case."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer of the model."""

    text: str
    cut: bool
    """Whether it reached the limit."""

    @property
    def loops(self) -> bool:
        """Whether it repeats itself."""
        return repeats(self.text)


FACTS: Final = tuple(
    Fact(*[cell.strip() for cell in line.split("|")])
    for line in (FOLDER / "everyday_facts.txt").read_text().splitlines()
)


def repeats(text: str) -> bool:
    """Whether a line or a phrase comes more than :data:`OFTEN` times."""
    lines = Counter(filter(None, (line.strip() for line in text.lower().splitlines())))
    words = re.findall(r"\w+", text.lower())
    phrases = Counter(zip(*[words[place:] for place in range(PHRASE)], strict=False))
    return max([0, *lines.values(), *phrases.values()]) > OFTEN


@asynccontextmanager
async def asking(model: LlamaCppModel, *, threads: int = 1, parallel: int = 8) -> AsyncIterator[MCPClient]:
    """A client of a server with the embedded model."""
    settings = LlamaCppSettings(models={MODEL: model}, threads=threads, parallel=parallel)
    provider = LlamaCppProvider(settings)
    async with running(providers={"local": provider}) as server, MCPClient(server.address) as client:
        yield client


async def answers(client: MCPClient, prompts: Sequence[str], **options: Any) -> list[Answer]:
    """The answers to the prompts, in their order."""

    async def answer(prompt: str) -> Answer:
        reply = await client.chat(prompt, timeout=600, **{"max_output_tokens": LIMIT, **options})
        return Answer(text=reply.text, cut=reply.finish_reason is FinishReason.LENGTH)

    return await asyncio.gather(*[answer(prompt) for prompt in prompts])


async def recalled(client: MCPClient, facts: Sequence[Fact]) -> list[bool]:
    """Which of the facts the model recalls, each in a session of its own."""

    async def recall(fact: Fact) -> bool:
        session = await client.create_session()
        for text in (fact.statement, fact.question):
            reply = await client.chat(text, session=session, timeout=600, max_output_tokens=LIMIT)
        return fact.word in reply.text.lower()

    return await asyncio.gather(*[recall(fact) for fact in facts])


async def measure(model: LlamaCppModel, *, threads: int, show: bool) -> str:
    """All prompts and all facts, in a line."""
    async with asking(model, threads=threads) as client:
        await client.chat("Hello", max_output_tokens=1, timeout=600)
        start = time.monotonic()
        replies = await answers(client, PROMPTS)
        seconds = time.monotonic() - start
        recalls = await recalled(client, FACTS)
    if show:
        for prompt, answer in zip(PROMPTS, replies, strict=True):
            print(f"{'LOOPS ' if answer.loops else ''}> {prompt}\n{answer.text}\n")  # noqa: T201
        for fact, right in zip(FACTS, recalls, strict=True):
            print(f"{'recalled' if right else 'FORGOTTEN'}: {fact.statement}")  # noqa: T201
    loops, cut = sum(answer.loops for answer in replies), sum(answer.cut for answer in replies)
    return (
        f"{loops} of {len(replies)} answers loop, {cut} reach {LIMIT} tokens, {seconds:.0f} s; "
        f"{sum(recalls)} of {len(recalls)} facts recalled"
    )


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.small_models.everyday", description=__doc__)
    parser.add_argument("--without", action="store_true", help="no guard against repetition")
    parser.add_argument("--threads", type=int, default=1, help="with which the model computes")
    parser.add_argument("--show", action="store_true", help="print the answers")
    chosen = parser.parse_args()
    model = OFF if chosen.without else LlamaCppModel()
    print(asyncio.run(measure(model, threads=chosen.threads, show=chosen.show)))  # noqa: T201


if __name__ == "__main__":
    main()
