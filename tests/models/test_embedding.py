"""Embeddings are tried again and fall back as answers do."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from contextprotocol.v1 import embedding_pb2
from mcp_server.errors import BY_REASON
from tests.models.conftest import Begin
from tests.models.fates import ELSEWHERE_FIRST, FATES
from tests.models.stage import FAILED, MODEL, REPORTED, SUCCEEDED, Stage, reason_of
from tests.upstream.faults import BEFORE_OUTPUT, FAULTS, FINAL
from tests.upstream.replies import Vectors, in_turn
from tests.wire import Refused

TEXTS = ("a cab", "abba")
GOOD = Vectors()
SECONDS = 20


def limits(name: str) -> dict[str, str]:
    """The settings of the providers' models; strict only where it matters."""
    if name == "context too long":
        return dict.fromkeys(["first", "second"], "context_window = 8192")
    return {"first": "first_token_timeout = 0.5"} if name == "no answer at all" else {}


def rows(response: embedding_pb2.EmbedResponse) -> list[tuple[str, int, str]]:
    """The ledger."""
    return [(row.provider, row.outcome, reason_of(row)) for row in response.attempts]


@pytest.mark.parametrize("name", [*BEFORE_OUTPUT, "no answer at all", *FINAL])
async def test_with_another_provider(begin: Begin, name: str) -> None:
    """It makes the vectors, where that may help."""
    fate = FATES[name]
    stage = await begin(FAULTS[name], GOOD, max_attempts=2, models=limits(name))
    async with asyncio.timeout(SECONDS):
        if not fate.falls_back:
            with Refused() as refused:
                await stage.embed(*TEXTS)
            assert (refused.reason, refused.code.name) == (fate.reason, BY_REASON[fate.reason].code)
            assert stage.calls == [1, 0]
            return
        response = await stage.embed(*TEXTS)
    tries = 2 if fate.retried and name not in ELSEWHERE_FIRST else 1
    assert [list(one.values) for one in response.embeddings] == [GOOD.vector(text) for text in TEXTS]
    assert response.model == f"second/{MODEL}"
    assert stage.calls == [tries, 1]
    assert rows(response) == [*[("first", FAILED, fate.reason)] * tries, ("second", SUCCEEDED, "")]
    assert response.usage.source == REPORTED
    assert response.usage.input_tokens == stage.upstreams[1].calls[0].prompt_tokens == 3


async def test_tried_again(begin: Begin) -> None:
    """What failed once may succeed at once."""
    stage = await begin(in_turn(FAULTS["500"], GOOD), GOOD)
    response = await stage.embed(*TEXTS)
    assert rows(response) == [("first", FAILED, "PROVIDER_UNAVAILABLE"), ("first", SUCCEEDED, "")]
    assert stage.calls == [2, 0]


async def hung(begin: Begin) -> tuple[Stage, asyncio.Task[embedding_pb2.EmbedResponse]]:
    """A call whose first provider is down and whose second never answers."""
    stage = await begin(FAULTS["401"], FAULTS["no answer at all"])
    call = asyncio.ensure_future(stage.embed(*TEXTS))
    await stage.upstreams[1].called()
    return stage, call


async def test_a_caller_who_leaves_stops_everything(begin: Begin) -> None:
    """In mid-fallback too."""
    stage, call = await hung(begin)
    call.cancel()
    async with asyncio.timeout(SECONDS):
        await stage.upstreams[1].idle()
    assert stage.upstreams[1].calls[0].left is not None
    assert stage.calls == [1, 1]


async def test_a_deadline_stops_everything(begin: Begin) -> None:
    """The caller's own."""
    stage = await begin(FAULTS["no answer at all"])
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stage.wire.embedding.Embed(embedding_pb2.EmbedRequest(inputs=TEXTS), timeout=0.3)
    assert raised.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    async with asyncio.timeout(SECONDS):
        await stage.upstreams[0].idle()
    assert stage.calls == [1]
