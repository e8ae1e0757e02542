"""The models that run on this machine, for the tests of the providers that run them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from mcp_server.interfaces import GenerateRequest, Provider, ProviderEvent
from mcp_server.model_files import pull
from mcp_server.providers.huggingface.provider import HuggingFaceProvider
from mcp_server.providers.huggingface.settings import HuggingFaceModel, HuggingFaceSettings
from mcp_server.providers.llama_cpp.provider import LlamaCppProvider
from mcp_server.providers.llama_cpp.settings import LlamaCppModel, LlamaCppSettings

MODEL = "smollm2-135m"

Workers = Callable[[], list[psutil.Process]]


async def events_of(provider: Provider, request: GenerateRequest) -> list[ProviderEvent]:
    """Everything that a provider yields."""
    return [event async for event in provider.generate(request)]


def text_of(events: Sequence[ProviderEvent]) -> str:
    """All the text in it."""
    return "".join([event if isinstance(event, str) else getattr(event, "text", "") for event in events])


@pytest.fixture(scope="session")
def model_file() -> Path:
    """The file of the embedded model."""
    return pull(MODEL)


@pytest.fixture(scope="session", autouse=True)
def _patient() -> Iterator[None]:
    """Models are listed when their files have been read, however long that takes here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mcp_server.providers.llama_cpp.local_model.LIST_SECONDS", 60)
        yield


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def provider(model_file: Path) -> AsyncIterator[LlamaCppProvider]:
    """One provider with the embedded model, for all tests that do not change it."""
    provider = LlamaCppProvider(LlamaCppSettings(models={MODEL: LlamaCppModel()}))
    yield provider
    await provider.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def huggingface(tiny_model: Path) -> AsyncIterator[HuggingFaceProvider]:
    """One provider with the tiny model, for all tests that do not change it."""
    provider = HuggingFaceProvider(HuggingFaceSettings(models={"tiny": HuggingFaceModel(path=tiny_model)}))
    yield provider
    await provider.close()


@pytest.fixture
def workers() -> Workers:
    """List the processes in which models of this test run."""
    others = {child.pid for child in psutil.Process().children()}

    def running() -> list[psutil.Process]:
        children = [child for child in psutil.Process().children() if child.pid not in others]
        return [child for child in children if child.status() != psutil.STATUS_ZOMBIE]

    return running
