"""More texts than a model takes at once, through the client."""

from __future__ import annotations

from array import array

import pytest

from mcp_client import EmbeddingProgress, InvalidArgument, MCPClient, ProviderError, UnsupportedByModel
from tests.client.beside import running
from tests.client.providers import Breaks, Letters

TEXTS = [letter * number for number, letter in enumerate("abcdefgh", 1)]


@pytest.mark.parametrize("model", ["letters/letters", ""], ids=["named", "default"])
async def test_many_texts_go_in_batches_that_the_model_takes(model: str) -> None:
    """Their vectors are in the order of the texts, and what they took is added up."""
    provider = Letters()
    async with running(providers={"letters": provider}) as server, MCPClient(server.address) as client:
        found = await client.embed(TEXTS, model=model)
    assert [vector.index(max(vector)) for vector in found.vectors] == list(range(8))
    assert [max(vector) for vector in found.vectors] == list(range(1, 9))
    assert (found.model, found.usage.input_tokens) == ("letters/letters", 8)
    assert [attempt.model for attempt in found.attempts] == ["letters"] * len(provider.batches)
    assert sum(attempt.usage.input_tokens for attempt in found.attempts) == 8
    assert [text for batch in provider.batches for text in batch] == TEXTS
    assert max(len(batch) for batch in provider.batches) == 3
    assert len(provider.batches) <= 4


async def test_few_texts_go_at_once() -> None:
    """Without a question about the model."""
    provider = Letters()
    async with running(providers={"letters": provider}) as server, MCPClient(server.address) as client:
        await client.embed(TEXTS[:3])
    assert provider.batches == [TEXTS[:3]]


async def test_texts_of_many_megabytes_go_in_requests_that_a_server_takes(client: MCPClient) -> None:
    """However many there are."""
    found = await client.embed(["a" * 1_000_000] * 20, timeout=60)
    assert [vector[0] for vector in found.vectors] == [1_000_000.0] * 20


async def test_what_is_wrong_with_a_text_is_no_matter_of_batches(client: MCPClient) -> None:
    """The error comes as it is."""
    with pytest.raises(InvalidArgument) as caught:
        await client.embed(["a", "", "c"])
    assert "inputs[1]" in caught.value.violations
    with pytest.raises(UnsupportedByModel):
        await client.embed(["a", "b"], dimensions=3)


async def test_the_progress_of_many_texts_is_reported() -> None:
    """With the vectors of each batch, which are the result together."""
    steps: list[EmbeddingProgress] = []
    async with running(providers={"letters": Letters()}) as server, MCPClient(server.address) as client:
        found = await client.embed(TEXTS, model="letters/letters", on_progress=steps.append)
    assert [(step.done, step.total) for step in steps] == [(3, 8), (6, 8), (8, 8)]
    assert [vector for step in steps for vector in step.batch.vectors] == list(found.vectors)
    assert isinstance(found.vectors[0], array)
    assert (found.vectors[0].typecode, repr(found)) == (
        "f",
        "Embeddings(vectors=<8 of 26 numbers>, model='letters/letters', input_tokens=8)",
    )


async def test_what_was_embedded_before_a_failure_is_kept() -> None:
    """The error has it, and the call can go on behind it."""
    provider = Breaks()
    async with (
        running(providers={"letters": provider}) as server,
        MCPClient(server.address, retry=None) as client,
    ):
        with pytest.raises(ProviderError) as caught:
            await client.embed(TEXTS)
        kept = caught.value.partial
        provider.batches.clear()
        rest = await client.embed(TEXTS[len(kept.vectors) :], model=kept.model)
    assert 0 < len(kept.vectors) < 8
    vectors = [*kept.vectors, *rest.vectors]
    assert [max(vector) for vector in vectors] == list(range(1, 9))


async def test_a_call_that_fails_at_once_has_nothing_to_keep(client: MCPClient) -> None:
    """Nor has any other."""
    with pytest.raises(InvalidArgument) as caught:
        await client.embed("")
    assert caught.value.partial is None
