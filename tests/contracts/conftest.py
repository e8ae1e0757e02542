"""What the tests of providers share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from mcp_server.model_files import pull
from mcp_server.testing.contracts.providers import Subject


@pytest.fixture(scope="session")
def model_file() -> None:
    """The embedded model is there."""
    pull("smollm2-135m")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def subjects(model_file: None) -> AsyncIterator[dict[str, Subject]]:
    """The providers that tests share, by kind; closed at the end."""
    subjects: dict[str, Subject] = {}
    yield subjects
    for subject in subjects.values():
        await subject.provider.close()
