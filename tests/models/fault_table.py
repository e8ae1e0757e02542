"""What a route of two models makes of every fault of the first, under two configurations: attempts, time and end.

``python -m tests.models.fault_table`` measures all of it, with the real time limits, and renews the table of
docs/faults.md. It takes less than a minute, nearly all of it silence.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import tempfile
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc

from contextprotocol.v1 import chat_pb2
from mcp_server.settings import load
from mcp_server.testing import running
from tests.models.conftest import tables
from tests.models.fates import FATES, UNREACHABLE
from tests.models.stage import Stage
from tests.upstream.addresses import with_address
from tests.upstream.faults import FAULTS, SILENT, STALLED
from tests.upstream.replies import Answer, in_turn
from tests.upstream.server import Upstream
from tests.wire import Refused, Wire, text_of, user

PAGE: Final = Path(__file__).parents[2] / "docs" / "faults.md"
HEADER: Final = "| what the first provider does | end | quick: attempts | time | defaults: attempts | time |"
QUICK: Final[Mapping[str, float]] = {
    "max_attempts": 2,
    "backoff": 0.05,
    "fallback_timeout": 1,
    "silence_timeout": 1,
    "retry_after_wait": 0,
}
"""The settings of an application whose users wait, as the page shows them."""
DEFAULTS: Final[Mapping[str, float]] = {}
IMPATIENT: Final[Mapping[str, float]] = {
    "backoff": 0.01,
    "max_backoff": 0.04,
    "fallback_timeout": 0.5,
    "silence_timeout": 0.5,
}
"""The defaults but for patience, for tests."""
PATIENCE: Final[Mapping[str, float]] = {"fallback_timeout": 30, "silence_timeout": 30}
"""More than any provider needs that is not silent."""
TOGETHER: Final = 4
"""How many faults are measured at once: most of the time is waiting."""
ELSEWHERE: Final = Answer(tokens=("Another", " one", " says", " this", "."))


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What became of one call."""

    end: str
    """``complete`` or the reason of the failure."""
    attempts: str
    """The calls in their order."""
    seconds: float
    """From the call to its end."""
    text: str
    """The answer."""


async def measure(name: str, routing: Mapping[str, float], *, unary: bool) -> Row:
    """Send one chat to a route whose first model has that fault; the second one answers."""
    async with AsyncExitStack() as stack:
        first = with_address(name) if name in UNREACHABLE else Upstream(in_turn(FAULTS[name]))
        upstreams = [await stack.enter_async_context(each) for each in (first, Upstream(in_turn(ELSEWHERE)))]
        # A prompt that is too long for one model is sent to another only if that may have a larger window.
        models = {"first": "context_window = 8192"} if name == "context too long" else {}
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        file = folder / "contextprotocol.toml"
        own = ['[metrics]\naddress = ""', '[store]\ntype = "memory"']
        file.write_text("\n\n".join([*tables(upstreams, routing=routing, models=models), *own]))
        server = await stack.enter_async_context(running(load(file, {})))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(server.address))
        if name == "nobody listens":
            first.stop_listening()
        stage = Stage(wire=Wire(server, channel), upstreams=upstreams)
        start = time.monotonic()
        if unary:
            return await _unary(stage, start)
        result = await stage.ask()
        return Row(
            end=result.reason or "complete",
            attempts=_attempts([row[0] for row in result.rows]),
            seconds=time.monotonic() - start,
            text=result.text if not result.reason else "",
        )


async def _unary(stage: Stage, start: float) -> Row:
    request = chat_pb2.ChatRequest(messages=[user("go on")])
    try:
        response = await stage.wire.chat.Chat(request)
    except grpc.aio.AioRpcError as error:
        refused = Refused()
        refused.__exit__(type(error), error, None)
        turn = await stage.turn(refused.metadata["turn"])
        end, text = refused.reason, ""
    else:
        turn = await stage.turn(response.turn)
        end, text = "complete", text_of(response.completed.message)
    attempts = _attempts([row.provider for row in turn.attempts])
    return Row(end=end, attempts=attempts, seconds=time.monotonic() - start, text=text)


def _attempts(providers: list[str]) -> str:
    groups = [(name, len(list(group))) for name, group in itertools.groupby(providers)]
    return ", ".join([name if count == 1 else f"{name} × {count}" for name, count in groups]) or "none"


async def measure_all(
    routing: Mapping[str, float], *, unary: bool = False, patience: Mapping[str, float] | None = None
) -> dict[str, Row]:
    """A row for each fault.

    Args:
        routing: the settings.
        unary: whether the calls are unary.
        patience: further settings where the provider is not silent, so that a busy machine makes no difference.
    """
    some = asyncio.Semaphore(TOGETHER)

    async def row(name: str) -> Row:
        async with some:
            own = {} if patience is None or name in SILENT or name in STALLED else patience
            return await measure(name, {**routing, **own}, unary=unary)

    names = [*FATES, *UNREACHABLE]
    return dict(zip(names, await asyncio.gather(*map(row, names)), strict=True))


def read() -> dict[str, list[str]]:
    """The cells of the page's table behind each fault."""
    lines = PAGE.read_text().partition(f"{HEADER}\n")[2].partition("\n\n")[0].splitlines()[1:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name: cells for name, *cells in rows}


async def _rows() -> list[str]:
    quick, defaults = await measure_all(QUICK), await measure_all(DEFAULTS)
    rows = []
    for name, one in quick.items():
        other = defaults[name]
        assert one.end == other.end
        cells = (name, one.end, one.attempts, _time(one.seconds), other.attempts, _time(other.seconds))
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _time(seconds: float) -> str:
    return "at once" if seconds < 0.1 else f"{seconds:.1f} s"


def main() -> None:
    """Renew the table of the page."""
    text = "\n".join([HEADER, "|---|---|---|---|---|---|", *asyncio.run(_rows())])
    page = PAGE.read_text()
    renewed, count = re.subn(rf"^{re.escape(HEADER)}\n(\|.*\n)*", lambda _: f"{text}\n", page, flags=re.MULTILINE)
    assert count == 1
    PAGE.write_text(renewed)


if __name__ == "__main__":
    main()
