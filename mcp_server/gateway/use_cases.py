"""The base of the use cases: what they need, and the settings that they follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mcp_server.accounts import Accounts
from mcp_server.admission import AdmitAll
from mcp_server.interfaces import Admission, ContextType, TurnObserver
from mcp_server.keys import KeyManager
from mcp_server.models.inventory import Inventory
from mcp_server.sessions.manager import MCPSessionManager
from mcp_server.settings.tables import ModelSettings, TurnSettings
from mcp_server.turns.registry import TurnRegistry
from mcp_server.values import SECOND, Clock


class UseCases:
    """The base of all use cases.

    Args:
        sessions: keeps the conversations.
        turns: runs the turns.
        inventory: knows the models.
        context_types: by name.
        clock: tells the time.
        models: the default models.
        turn_settings: how long a turn may take if its call does not say.
        accounts: the limits and the usage of callers.
        admission: decides who may begin work.
        keys: manages API keys.
        observers: are notified of calls to providers that belong to no turn.
    """

    def __init__(
        self,
        *,
        sessions: MCPSessionManager,
        turns: TurnRegistry,
        inventory: Inventory,
        context_types: Mapping[str, ContextType],
        clock: Clock,
        models: ModelSettings,
        turn_settings: TurnSettings,
        keys: KeyManager,
        accounts: Accounts,
        admission: Admission | None = None,
        observers: Sequence[TurnObserver] = (),
    ) -> None:
        self.keys = keys
        self._sessions = sessions
        self._turns = turns
        self._context_types = context_types
        self._clock = clock
        self.configure(inventory, models, turn_settings)
        self.accounts = accounts
        """The limits and the usage of callers."""
        self._admission = admission or AdmitAll()
        self._observers = observers

    def configure(self, inventory: Inventory, models: ModelSettings, turn_settings: TurnSettings) -> None:
        """Use other settings for calls that begin from now on."""
        self._inventory = inventory
        self._default_model = models.default
        self._default_embedding_model = models.default_embedding
        self._turn_timeout = int(turn_settings.timeout * SECOND)
