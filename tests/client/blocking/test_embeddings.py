# Generated from tests/client/test_embeddings.py by scripts/generate: edit that file.

"""More texts than a model takes at once, through the client."""

from __future__ import annotations

import pytest

from mcp_client import InvalidArgument, MCPSyncClient, UnsupportedByModel
from tests.client.blocking.beside import running
from tests.client.providers import Letters

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
