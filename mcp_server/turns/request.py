"""What the gateway hands down to begin a turn, or to find the one that the same request began before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec
import structlog

from mcp_server.errors import MCPError
from mcp_server.interfaces import Permit
from mcp_server.models.catalogue import Candidates, Catalogue
from mcp_server.models.usage import highest_costs
from mcp_server.quotas import Demand, Quota
from mcp_server.sessions.idempotency import digest_of
from mcp_server.turns.kinds import ChatInput, CompletionInput
from mcp_server.turns.options import TurnOptions
from mcp_server.values import MCPSession, OnDisconnect, with_states_of

replace = msgspec.structs.replace
log = structlog.get_logger("contextprotocol.turns")


@dataclass(frozen=True, kw_only=True, slots=True)
class TurnRequest:
    """A complete request. Nothing below asks the gateway for more."""

    tenant: str
    """Whose turn it is."""
    input: ChatInput | CompletionInput
    """What is asked, with its options."""
    timeout: int
    """Nanoseconds after which the turn fails, waiting included."""
    catalogue: Catalogue
    """The models that the caller may use, as they were when the call came."""
    default_model: str
    """The model of calls and sessions that name none."""
    draw: float
    """A random number from 0 to 1, which chooses among weighted models."""
    candidates: Candidates | MCPError | None
    """The models to ask, or why there are none; ``None``: the default model of the session decides, which the claim
    reads."""
    quota: Quota | None
    """The limits of the caller; ``None``: there are none."""
    input_tokens: int
    """About how many tokens the new input has; 0 without a quota."""
    key: str
    """The id of the caller's API key, or empty."""
    permit: Permit | MCPError
    """The permit of a turn that begins, or why none may begin. A turn that began before is found all the same."""

    def candidates_for(self, session: MCPSession | None) -> Candidates:
        """The models to ask in that session. Calls no plug-in: it may run inside a transaction.

        Raises:
            MCPError: there are none.
            LookUpNeeded: a provider has to be asked for the session's default model first.
        """
        if isinstance(self.candidates, MCPError):
            raise self.candidates
        if self.candidates is not None:
            return self.candidates
        named = session.default_model if session is not None else ""
        return self.catalogue.route(named, self.default_model).candidates(self.input.needs(), self.draw)

    def demand(self, turn: str, session: MCPSession | None, candidates: Candidates) -> Demand:
        """What the turn may use at most: a prompt with the history of the session, as long as the largest window, and
        the longest answer."""
        assert self.quota is not None
        answer = self.input.options.config.max_output_tokens or self.quota.default_output_tokens
        prompt = self.input_tokens + (session.tokens if session is not None and self.input.reads_history else 0)
        windows = [target.model.context_window for target in candidates.targets]
        if all(windows):
            prompt = min(prompt, max(windows))
        return Demand(
            id=turn,
            tokens=prompt + answer,
            costs=highest_costs(candidates.targets, prompt, answer),
            timeout=self.timeout,
        )


def release(permit: Permit | MCPError, **facts: str) -> None:
    """Give back a permit, if there is one. An error of the plug-in is logged with ``facts`` and changes no answer."""
    if isinstance(permit, MCPError):
        return
    try:
        permit.release()
    except Exception as error:
        log.error("permit not released", **facts, exc_info=error)


def digest(tenant: str, input: ChatInput | CompletionInput) -> bytes:
    """The digest of a request, which differs for different requests with the same ``request_id``.

    How a call reads the turn does not count: a retry may resume, or disconnect otherwise. Nor do the states of
    providers.
    """
    options = replace(input.options, request_id="", after_sequence=None, on_disconnect=OnDisconnect.CANCEL_AFTER_GRACE)
    fields = {name: getattr(options, name) for name in options.__struct_fields__}
    later = {name: value for name, default in _LATER.items() if (value := fields.pop(name)) != default}
    rest = {name: getattr(input, name) for name in input.__struct_fields__ if name != "options"}
    if isinstance(input, ChatInput):
        rest["messages"] = with_states_of("", input.messages)
    return digest_of(_DIGESTED[type(input)](options=_Options(tenant=tenant, later=later or None, **fields), **rest))


def _with_defaults(kind: type[msgspec.Struct]) -> list[Any]:
    return [
        (field.name, field.type)
        if field.required
        else (field.name, field.type, field.default if field.default_factory is msgspec.NODEFAULT else {})
        for field in msgspec.structs.fields(kind)
    ]


# Digests are stored, and compared with those of later releases: the fields and their order stay as they are. So does
# their number, on which the encoding depends: options that were added after 0.5 are one field together.
_LATER: Final = {
    name: default
    for name, _, default in [field for field in _with_defaults(TurnOptions) if len(field) == 3]
    if name in ("commit", "details", "message_count", "on_cut", "retain")
}
_Options = msgspec.defstruct(
    "_Options",
    [
        ("tenant", str),
        *[field for field in _with_defaults(TurnOptions) if field[0] not in _LATER],
        ("later", dict[str, Any] | None, None),
    ],
    kw_only=True,
    omit_defaults=True,
)
_DIGESTED: Final = {
    kind: msgspec.defstruct(
        f"_{kind.__name__}",
        [("options", _Options), *[field for field in _with_defaults(kind) if field[0] != "options"]],
        kw_only=True,
        omit_defaults=True,
    )
    for kind in (ChatInput, CompletionInput)
}
