"""What pytest is told of LangChain's own suite."""

from __future__ import annotations

import pytest

ELSEWHERE = {
    "test_init_from_env": "no setting is read from the environment",
    "test_init_time": "measures",
    "test_stream_time": "measures",
    "test_serdes": "for models that LangChain itself can load",
    "test_audio_inputs": "fetches a file from the internet",
    "test_image_inputs": "fetches a file from the internet",
    "test_pdf_inputs": "fetches a file from the internet",
    "test_image_tool_message": "fetches a file from the internet",
    "test_pdf_tool_message": "fetches a file from the internet",
    "test_anthropic_inputs": "fetches a file from the internet",
}
"""The tests of that suite that do not run here, and why. What they are about is tested in test_langchain.py."""


def pytest_configure(config: pytest.Config) -> None:
    """Name the marks that the suite has for its own makers."""
    for mark in ("benchmark", "vcr"):
        config.addinivalue_line("markers", f"{mark}: of LangChain's suite")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what cannot run here."""
    left_out = [
        item
        for item in items
        if item.path.stem == "test_langchain_standard" and item.name.partition("[")[0] in ELSEWHERE
    ]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
