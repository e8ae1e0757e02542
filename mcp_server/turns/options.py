"""What chats and completions have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp_server import rules
from mcp_server.values import GenerationConfig, IfBusy, OnDisconnect, Struct


class TurnOptions(Struct):
    """The options of a turn."""

    session: str = ""
    """The id of the session, or empty."""
    model: str = ""
    """An alias or ``provider/model``; empty: the session's, then the server's default."""
    config: GenerationConfig = GenerationConfig()
    """Sampling parameters and the format of the answer."""
    request_id: str = ""
    """The caller's key for retries, or empty."""
    after_sequence: int | None = None
    """Begin after this event of the turn that ``request_id`` names; ``None``: the turn may be new."""
    etag: str = ""
    """If set, the etag that the session must have."""
    if_busy: IfBusy = IfBusy.REJECT
    """What happens if the session has a turn already."""
    on_disconnect: OnDisconnect = OnDisconnect.CANCEL_AFTER_GRACE
    """What happens to the turn when its last reader has left."""
    timeout: int | None = None
    """Nanoseconds after which the turn fails; ``None``: the server's default."""
    provider_options: Mapping[str, Any] = {}
    """Passed to the provider as it is."""
    labels: Mapping[str, str] = {}
    """For whom or what the call is made."""

    def check(self, found: rules.Violations) -> None:
        """Add what is wrong with the options."""
        rules.turn(
            found,
            session=self.session,
            model=self.model,
            key=self.request_id,
            after_sequence=self.after_sequence,
            etag=self.etag,
            if_busy=self.if_busy,
            timeout=self.timeout,
            config=self.config,
            provider_options=self.provider_options,
            call_labels=self.labels,
        )
