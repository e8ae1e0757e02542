"""What the provider ``openai`` costs by itself, beside the floor's own code and beside OpenAI's own client."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from typing import Final

from tests.bench.asking import AT_ONCE, WAYS
from tests.bench.rows import beside, compared
from tests.bench.run import Run
from tests.bench.upstream import TOKENS

ROUNDS: Final = 4
"""Each way has its turns in each of them, so that what disturbs the machine disturbs all of them."""
BUDGET: Final = 1.5
MICRO: Final = 1e6


async def providers(run: Run) -> None:
    """Chats of one token, and streams in bursts."""
    requests, streams = defaultdict[str, float](float), defaultdict[str, float](float)
    calls = {"unary": run.size.calls // ROUNDS, "burst": run.size.rounds * AT_ONCE // ROUNDS or AT_ONCE}
    async with contextlib.AsyncExitStack() as stack:
        ways = {way: await stack.enter_async_context(run.asking(way)) for way in WAYS}
        for asking in ways.values():
            await asking.cpu("unary", AT_ONCE)
            await asking.cpu("burst", AT_ONCE)
        for _ in range(ROUNDS):
            for way, asking in ways.items():
                requests[way] += await asking.cpu("unary", calls["unary"]) / calls["unary"] / ROUNDS * MICRO
                streams[way] += await asking.cpu("burst", calls["burst"]) / calls["burst"] / TOKENS / ROUNDS * MICRO
    for what, cost in (("chat of one token", requests), ("streamed token in bursts", streams)):
        run.rows.append(compared(f"the provider alone, {what}", cost["bare"], cost["openai"], BUDGET))
        run.rows.append(beside(f"OpenAI's own client in its place, {what}", cost["bare"], cost["sdk"]))
