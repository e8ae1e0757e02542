"""What chats and completions have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp_server import rules
from mcp_server.values import GenerationConfig, IfBusy, OnCut, OnDisconnect, Struct


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
    commit: bool = True
    """Whether the turn changes its session. Otherwise it reads the session as it is and leaves it alone: it runs beside
    other turns, neither waits for them (``if_busy``) nor makes them wait, and its answer is in its own record only. It
    does not keep the session from expiring while it runs."""
    retain: bool = True
    """Whether the turn is kept for ``turns.retention`` after its end. Otherwise it can be read, and its request sent
    again, for ``turns.disconnect_grace``. Then it cannot be found, and the next sweep deletes it. What it has used
    stays in the usage ledger, and what it has committed in the history."""
    on_cut: OnCut | None = None
    """What happens when a provider fails after the first piece of the answer; ``None``: what the route says. A turn
    that is interrupted and sent again begins anew in any case."""
    message_count: int | None = None
    """If set, how many messages the history of the session must have. Unlike an ``etag``, it is the same when the
    request is sent again."""
    details: Mapping[str, Any] = {}
    """What the edge that begins the turn keeps with it, as JSON: neither interpreted nor shown by other edges."""

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
