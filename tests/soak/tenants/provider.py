"""The provider of all tenants: it answers, fails, and keeps books by request."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from tests.soak.tenants.tenants import Tenant
from tests.upstream.books import Call
from tests.upstream.faults import FAULTS
from tests.upstream.replies import EMBEDDING, Answer, Reply, Vectors
from tests.upstream.server import Upstream

FAULTY: Final = 0.2
"""The share of calls that fail."""
KINDS: Final = (
    "500",
    "429",
    "429 with Retry-After: 0",
    "503",
    "reset before headers",
    "no answer at all",
    "stream cut",
    "stream closed",
    "stalled stream",
    "error object in the stream",
)
"""How they fail."""
JOURNAL: Final = 2.0
"""Seconds before a kill of which the store may not have all: longer than any interval between two writes."""
SLOW: Final = "slow"
"""Ends a question whose answer takes some seconds."""


def answer(question: str) -> tuple[str, ...]:
    """The pieces of the answer to ``CANARY REQUEST_ID NUMBER`` or ``CANARY REQUEST_ID slow``."""
    canary, request_id, words = question.split()
    return (canary, f" {request_id}", *([" word"] * (60 if words == SLOW else int(words))))


class Provider:
    """It.

    Args:
        tenants: who ask.
        generator: decides what fails.

    Attributes:
        upstream: the server.
        touched: the request ids of calls that a kill may have separated from the books of the server.
        problems: what must not be.
    """

    def __init__(self, tenants: Sequence[Tenant], generator: random.Random) -> None:
        self.upstream = Upstream(self._plan)
        self.touched: set[str] = set()
        self.problems: list[str] = []
        self._canaries = [tenant.canary for tenant in tenants]
        self._random = generator

    def note_kill(self) -> None:
        """The process of the server has just been killed."""
        now = asyncio.get_running_loop().time()
        for call in self.upstream.calls:
            if not call.ended.is_set() or now - call.time < JOURNAL:
                self.touched.add(request_of(call))

    def calls(self) -> dict[str, list[Call]]:
        """All calls by request id, in the order in which they came."""
        found = defaultdict(list)
        for call in self.upstream.calls:
            found[request_of(call)].append(call)
        return found

    def _plan(self, call: Call) -> Reply:
        sent = str(call.body)
        if len(seen := [canary for canary in self._canaries if canary in sent]) != 1:
            self.problems.append(f"one prompt has the texts of {seen}")
        if call.path == EMBEDDING:
            return Vectors()
        question = question_of(call)
        slow = question.endswith(SLOW)
        if not slow and self._random.random() < FAULTY:
            return FAULTS[self._random.choice(KINDS)]
        return Answer(tokens=answer(question), pause=0.1 if slow else self._random.choice((0, 0, 0.01)))


def question_of(call: Call) -> str:
    """The last text that a call sends."""
    if call.path == EMBEDDING:
        texts = call.body["input"]
        return texts if isinstance(texts, str) else str(texts[-1])
    content = call.body["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def request_of(call: Call) -> str:
    """The id of the request for which a call was made."""
    return question_of(call).split()[1]
