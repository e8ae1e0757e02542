"""The contract of stores, as tests for their authors::

    class TestMyStore(StoreContract):
        @pytest_asyncio.fixture
        async def store(self) -> AsyncIterator[MyStore]:
            store = MyStore()
            await store.open()
            yield store
            await store.close()

``store`` is an open, empty store. pytest and pytest-asyncio run every test of the contract on it.
"""

import pytest

for _module in (
    "accounts",
    "concurrency",
    "forks",
    "leases",
    "lists",
    "messages",
    "requests",
    "rewinds",
    "sessions",
    "shared",
    "turns",
):
    # So that a failing assertion shows its values. It must be before the import.
    pytest.register_assert_rewrite(f"{__name__}.{_module}")

from mcp_server.testing.contracts.stores.accounts import AccountContract  # noqa: E402  # see above
from mcp_server.testing.contracts.stores.concurrency import ConcurrencyContract  # noqa: E402  # see above
from mcp_server.testing.contracts.stores.forks import ForkContract  # noqa: E402  # see above
from mcp_server.testing.contracts.stores.leases import LeaseContract  # noqa: E402  # see above
from mcp_server.testing.contracts.stores.lists import ListContract  # noqa: E402  # see above
from mcp_server.testing.contracts.stores.messages import MessageContract  # noqa: E402  # see above
from mcp_server.testing.contracts.stores.requests import RequestContract  # noqa: E402  # see above
from mcp_server.testing.contracts.stores.rewinds import RewindContract  # noqa: E402  # see above
from mcp_server.testing.contracts.stores.sessions import SessionContract  # noqa: E402  # see above
from mcp_server.testing.contracts.stores.shared import SharedContract  # noqa: E402  # see above
from mcp_server.testing.contracts.stores.turns import TurnContract  # noqa: E402  # see above

__all__ = ["AccountStoreContract", "SharedStoreContract", "StoreContract"]


@pytest.mark.asyncio
class StoreContract(
    SessionContract,
    MessageContract,
    ForkContract,
    RewindContract,
    ListContract,
    TurnContract,
    RequestContract,
    LeaseContract,
    ConcurrencyContract,
):
    """What every store does. Provide the fixture ``store``."""


class SharedStoreContract(StoreContract, SharedContract):
    """What a store does that several servers use at once. Provide the fixtures ``store`` and ``another``, which is the
    same store as a second server opens it."""


class AccountStoreContract(StoreContract, AccountContract):
    """What a store does that keeps API keys, usage and limits too. Provide the fixture ``store``."""
