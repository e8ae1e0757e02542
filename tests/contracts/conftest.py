"""The providers that the contract is tried on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from mcp_server.model_files import pull
from tests.contracts.provider_contract import SUBJECTS, Subject


@pytest.fixture(scope="session")
def _model_file() -> None:
    """The embedded model is there."""
    pull("smollm2-135m")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def _subjects(_model_file: None) -> AsyncIterator[dict[str, Subject]]:
    """One provider of each kind, for all tests: loading a model takes longer than most of them."""
    subjects: dict[str, Subject] = {}
    yield subjects
    for subject in subjects.values():
        await subject.provider.close()


@pytest_asyncio.fixture(loop_scope="session", params=SUBJECTS)
async def subject(request: pytest.FixtureRequest, _subjects: dict[str, Subject]) -> Subject:
    """A provider that other tests use too; each in turn, unless the test asks for some."""
    if request.param not in _subjects:
        _subjects[request.param] = await SUBJECTS[request.param](request.getfixturevalue)
    return _subjects[request.param]


@pytest_asyncio.fixture(loop_scope="session", params=SUBJECTS)
async def fresh(request: pytest.FixtureRequest, _model_file: None) -> AsyncIterator[Subject]:
    """A provider of the test's own, unused."""
    subject = await SUBJECTS[request.param](request.getfixturevalue)
    yield subject
    await subject.provider.close()
