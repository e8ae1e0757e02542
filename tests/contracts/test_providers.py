"""The contract of providers, on every provider of the project."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

import pytest
import pytest_asyncio

from mcp_server.testing.contracts.providers import (
    ContextWindowContract,
    EmbeddingContract,
    LoadingContract,
    ProviderContract,
    SamplingContract,
    Subject,
    TokenCounterContract,
    ToolContract,
)
from tests.contracts.subjects import SUBJECTS

pytestmark = pytest.mark.asyncio(loop_scope="session")


class SharedProviderContract(ProviderContract):
    """With one provider for all tests of a class: loading a model takes longer than most of them."""

    kind: ClassVar[str]
    """Its key in ``SUBJECTS``."""

    @pytest_asyncio.fixture(loop_scope="session")
    async def subject(  # type: ignore[override]  # as a fixture, it may ask for others
        self, request: pytest.FixtureRequest, subjects: dict[str, Subject]
    ) -> Subject:
        """The provider that the other tests use too."""
        if self.kind not in subjects:
            subjects[self.kind] = await SUBJECTS[self.kind](request.getfixturevalue)
        return subjects[self.kind]

    @pytest_asyncio.fixture(loop_scope="session")
    async def fresh(  # type: ignore[override]  # as above
        self, request: pytest.FixtureRequest, model_file: None
    ) -> AsyncIterator[Subject]:
        """A provider of the test's own, unused."""
        subject = await SUBJECTS[self.kind](request.getfixturevalue)
        yield subject
        await subject.provider.close()


class TestEcho(SharedProviderContract, SamplingContract, EmbeddingContract, TokenCounterContract):
    """A double that honours what it can."""

    kind = "echo"


class TestScripted(SharedProviderContract):
    """A double that plays a script as it is written."""

    kind = "scripted"


class TestOpenAI(SharedProviderContract, SamplingContract, EmbeddingContract, ToolContract, ContextWindowContract):
    """A server of llama.cpp, over HTTP."""

    kind = "openai"


class TestLlamaCpp(
    SharedProviderContract,
    SamplingContract,
    EmbeddingContract,
    TokenCounterContract,
    ContextWindowContract,
    LoadingContract,
):
    """The embedded model."""

    kind = "llama_cpp"


@pytest.mark.usefixtures("tiny_model", "minilm_model")
class TestHuggingFace(
    SharedProviderContract,
    SamplingContract,
    EmbeddingContract,
    TokenCounterContract,
    ToolContract,
    ContextWindowContract,
    LoadingContract,
):
    """Two small models, one for each purpose."""

    kind = "huggingface"
