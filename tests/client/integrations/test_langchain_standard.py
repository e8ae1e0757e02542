"""What LangChain asks of every chat model: its own suite, against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from mcp_client.integrations.langchain import ChatContextProtocol
from tests.client.blocking.beside import LOOP, running
from tests.client.integrations.obliging import ObligingProvider


@pytest.fixture(scope="module", autouse=True)
def address() -> Iterator[str]:
    """A server for all of them."""
    with LOOP, running(providers={"obliging": ObligingProvider()}) as server:
        Ours.address = server.address
        yield server.address


class Ours:
    """What the suite is told of our model."""

    address = ""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        """The class under test."""
        return ChatContextProtocol

    @property
    def chat_model_params(self) -> dict[str, Any]:
        """Its arguments."""
        return {"address": self.address}

    @property
    def standard_chat_model_params(self) -> dict[str, Any]:
        """Those that all models have, but `max_retries`: how long calls are sent again is for `client_options`."""
        return {"temperature": 0, "max_tokens": 100, "timeout": 60, "stop": []}

    @property
    def supports_json_mode(self) -> bool:
        """Answers can be just some JSON object."""
        return True

    @property
    def model_override_value(self) -> str:
        """Another model of the server."""
        return "obliging/other"


class TestUnit(Ours, ChatModelUnitTests):
    """Without a call."""


class TestIntegration(Ours, ChatModelIntegrationTests):
    """With calls."""
