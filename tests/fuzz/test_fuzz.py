"""Every RPC, with whatever bytes and metadata: a clear answer, in time, without anything that belongs to others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import psutil
import pytest
from google.protobuf.descriptor import MethodDescriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcp_server.middleware.authentication import failures
from tests.auth.rpcs import Case, served
from tests.conftest import Serve
from tests.fuzz.calls import Caller, wrong
from tests.fuzz.requests import RPCS, make
from tests.fuzz.tenants import EchoOfEverything, Party, Tenants, configured

EXAMPLES = 3000
"""Half a minute of calls."""
MORE_FILES = 8
"""How many more files may be open at the end: those of threads of the store that start when there is much to do."""
EVERY = 100
"""How many calls there are from one canary to the next."""


class House:
    """A server with tenants, and a caller."""

    def __init__(self, caller: Caller, tenants: Tenants) -> None:
        self.caller, self.tenants, self.calls = caller, tenants, 0


@pytest.fixture
async def house(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    """At the end the server still answers, and holds no more than at the start."""
    monkeypatch.setattr(failures, "MAX_DELAY", 0.0)
    config, secrets = configured(tmp_path)
    wire = await serve(config, providers={"echo": EchoOfEverything()})
    tenants = Tenants(wire.channel, secrets)
    await tenants.furnish()
    tasks, files = len(asyncio.all_tasks()), psutil.Process().num_fds()
    yield House(Caller(wire.channel), tenants)
    await tenants.canary()
    async with asyncio.timeout(20):
        while len(asyncio.all_tasks()) > tasks:  # noqa: ASYNC110  # no event tells that a task has ended
            await asyncio.sleep(0.05)
    assert psutil.Process().num_fds() <= files + MORE_FILES


def test_every_rpc_is_fuzzed() -> None:
    """Health and reflection too."""
    assert {method.full_name for method, _ in RPCS} == {
        method.full_name for service in served() for method in service.methods
    }


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.sampled_from(RPCS), st.randoms(use_true_random=False))
async def test_no_request_gets_an_unclear_answer(
    house: House, rpc: tuple[MethodDescriptor, Case], generator: Random
) -> None:
    """No call ends with INTERNAL, outlasts its deadline, or shows what belongs to another tenant."""
    party: Party = generator.choice(house.tenants.parties)
    request = make(generator, house.tenants.names, party.credentials, *rpc)
    outcome = await house.caller.send(request)
    assert not wrong(request, outcome, party.marker(request.path)), request
    house.calls += 1
    if house.calls % EVERY == 0:
        await house.tenants.canary()
