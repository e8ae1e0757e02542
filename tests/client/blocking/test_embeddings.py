# Generated from tests/client/test_embeddings.py by scripts/generate: edit that file.

"""More texts than a model takes at once, through the client."""

from __future__ import annotations

from array import array

import pytest

from mcp_client import EmbeddingProgress, InvalidArgument, MCPSyncClient, ProviderError, UnsupportedByModel
from tests.client.blocking.beside import running
from tests.client.providers import Breaks, Letters

TEXTS = [letter * number for number, letter in enumerate("abcdefgh", 1)]


@pytest.mark.parametrize("model", ["letters/letters", ""], ids=["named", "default"])
def test_many_texts_go_in_batches_that_the_model_takes(model: str) -> None:
    """Their vectors are in the order of the texts, and what they took is added up."""
    provider = Letters()
    with running(providers={"letters": provider}) as server, MCPSyncClient(server.address) as client:
        found = client.embed(TEXTS, model=model)
    assert [vector.index(max(vector)) for vector in found.vectors] == list(range(8))
    assert [max(vector) for vector in found.vectors] == list(range(1, 9))
    assert (found.model, found.usage.input_tokens) == ("letters/letters", 8)
    assert [attempt.model for attempt in found.attempts] == ["letters"] * len(provider.batches)
    assert sum(attempt.usage.input_tokens for attempt in found.attempts) == 8
    assert [text for batch in provider.batches for text in batch] == TEXTS
    assert max(len(batch) for batch in provider.batches) == 3
    assert len(provider.batches) <= 4


def test_few_texts_go_at_once() -> None:
    """Without a question about the model."""
    provider = Letters()
    with running(providers={"letters": provider}) as server, MCPSyncClient(server.address) as client:
        client.embed(TEXTS[:3])
    assert provider.batches == [TEXTS[:3]]


def test_texts_of_many_megabytes_go_in_requests_that_a_server_takes(client: MCPSyncClient) -> None:
    """However many there are."""
    found = client.embed(["a" * 1_000_000] * 20, timeout=60)
    assert [vector[0] for vector in found.vectors] == [1_000_000.0] * 20


def test_what_is_wrong_with_a_text_is_no_matter_of_batches(client: MCPSyncClient) -> None:
    """The error comes as it is."""
    with pytest.raises(InvalidArgument) as caught:
        client.embed(["a", "", "c"])
    assert "inputs[1]" in caught.value.violations
    with pytest.raises(UnsupportedByModel):
        client.embed(["a", "b"], dimensions=3)


def test_the_progress_of_many_texts_is_reported() -> None:
    """With the vectors of each batch, which are the result together."""
    steps: list[EmbeddingProgress] = []
    with running(providers={"letters": Letters()}) as server, MCPSyncClient(server.address) as client:
        found = client.embed(TEXTS, model="letters/letters", on_progress=steps.append)
    assert [(step.done, step.total) for step in steps] == [(3, 8), (6, 8), (8, 8)]
    assert [vector for step in steps for vector in step.batch.vectors] == list(found.vectors)
    assert isinstance(found.vectors[0], array)
    assert (found.vectors[0].typecode, repr(found)) == (
        "f",
        "Embeddings(vectors=<8 of 26 numbers>, model='letters/letters', input_tokens=8)",
    )


def test_what_was_embedded_before_a_failure_is_kept() -> None:
    """The error has it, and the call can go on behind it."""
    provider = Breaks()
    with (
        running(providers={"letters": provider}) as server,
        MCPSyncClient(server.address, retry=None) as client,
    ):
        with pytest.raises(ProviderError) as caught:
            client.embed(TEXTS)
        kept = caught.value.partial
        provider.batches.clear()
        rest = client.embed(TEXTS[len(kept.vectors) :], model=kept.model)
    assert 0 < len(kept.vectors) < 8
    vectors = [*kept.vectors, *rest.vectors]
    assert [max(vector) for vector in vectors] == list(range(1, 9))


def test_a_call_that_fails_at_once_has_nothing_to_keep(client: MCPSyncClient) -> None:
    """Nor has any other."""
    with pytest.raises(InvalidArgument) as caught:
        client.embed("")
    assert caught.value.partial is None
