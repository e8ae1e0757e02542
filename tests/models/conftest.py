"""Servers that ask faulty providers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from mcp_server.settings import load
from tests.conftest import Serve
from tests.faults.conftest import seed
from tests.models.stage import MODEL, NAMES, Stage
from tests.upstream.replies import Plan, Reply, in_turn
from tests.upstream.server import Upstream

__all__ = ["Begin", "begin", "seed"]

Begin = Callable[..., Awaitable[Stage]]

SETTINGS = """
[server]
address = "127.0.0.1:0"
"""
ROUTING: Final = {"backoff": 0.01, "max_backoff": 0.04, "circuit_failures": 1000}
"""Tries again soon, is patient with slow machines, and leaves no provider alone."""


def tables(
    upstreams: Sequence[Upstream],
    *,
    route: str = "",
    routing: Mapping[str, float],
    models: Mapping[str, str],
    provider: str = 'api_key = "sk-test"',
) -> list[str]:
    """TOML tables of a server whose default model is a route over the upstreams."""
    targets = [f"{name}/{MODEL}" for name in NAMES[: len(upstreams)]]
    return [
        SETTINGS,
        "[routing]\n" + "\n".join(f"{key} = {value}" for key, value in routing.items()),
        '[models]\ndefault = "answers"\ndefault_embedding = "answers"',
        f"[models.routes.answers]\ntargets = {targets}\n{route}",
        *[f'[models.settings."{name}/{MODEL}"]\n{text}' for name, text in models.items()],
        *[
            f'[providers.{name}]\ntype = "openai"\nbase_url = "{upstream.url}"\n{provider}'
            for name, upstream in zip(NAMES, upstreams, strict=False)
        ],
    ]


@pytest.fixture
async def begin(serve: Serve, tmp_path: Path) -> AsyncIterator[Begin]:
    """Start upstreams, one for each reply or plan, and a server whose default model is a route over all of them.

    ``routing`` are settings of that table, ``on_cut`` and ``max_attempts`` those of the route. ``models`` are the
    settings of the model of each, by the name of its provider; ``provider`` those of all providers; ``more`` is further
    TOML.
    """
    async with AsyncExitStack() as stack:

        async def start(
            *plans: Plan | Reply | Upstream,
            on_cut: str = "restart",
            max_attempts: int = 3,
            routing: Mapping[str, float] | None = None,
            models: Mapping[str, str] | None = None,
            provider: str = 'api_key = "sk-test"',
            metrics_address: str = "",
            more: str = "",
            environ: Mapping[str, str] | None = None,
            **arguments: Any,
        ) -> Stage:
            upstreams = [await stack.enter_async_context(_upstream(plan)) for plan in plans]
            file = tmp_path / "contextprotocol.toml"
            file.write_text(
                "\n\n".join(
                    [
                        *tables(
                            upstreams,
                            route=f'on_cut = "{on_cut}"\nmax_attempts = {max_attempts}',
                            routing={**ROUTING, **(routing or {})},
                            models=models or {},
                            provider=provider,
                        ),
                        f'[metrics]\naddress = "{metrics_address}"',
                        f'[store]\ntype = "sqlite"\npath = "{tmp_path}/sessions.db"',
                        more,
                    ]
                )
            )
            return Stage(wire=await serve(load(file, environ or {}), **arguments), upstreams=upstreams)

        yield start


def _upstream(plan: Plan | Reply | Upstream) -> Upstream:
    if isinstance(plan, Upstream):
        return plan
    return Upstream(plan if callable(plan) else in_turn(plan))
