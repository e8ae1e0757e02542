"""Nobody grants more than they have themselves."""

from __future__ import annotations

from mcp_server.errors import NotAllowed
from mcp_server.principal import Principal
from mcp_server.rules.key import AMOUNTS, BURSTS
from mcp_server.values import Key, Limits
from mcp_server.values.pattern import matches


def check_grant(principal: Principal, key: Key, *, former: Key | None = None) -> None:
    """Make sure that ``principal`` may grant all that ``key`` permits. ``former`` is the key before its change.

    Raises:
        NotAllowed: it permits more than ``principal`` may do, or the scope ``operator``.
    """
    if "operator" in key.scopes and (former is None or "operator" not in former.scopes):
        raise NotAllowed("the scope operator cannot be granted by a call: it is set in the settings of the server")
    if beyond := sorted(scope for scope in key.scopes if not principal.allows(scope)):
        raise NotAllowed(f"the caller cannot grant scopes that it does not have: {', '.join(beyond)}")
    if principal.models is not None:
        for pattern in key.models or ("*",):
            if not any(matches(own, pattern) for own in principal.models):
                raise NotAllowed(f"the caller cannot grant models that it may not use: {pattern}")
    if principal.expire_time is not None and (key.expire_time is None or key.expire_time > principal.expire_time):
        raise NotAllowed("the caller's own key expires: expire_time must be set, to no later than that")
    _check_limits(principal.limits, key.limits)


def _check_limits(own: Limits, granted: Limits) -> None:
    for name in AMOUNTS:
        most = _amount(own, name)
        if most is None:
            continue
        amount = _amount(granted, name)
        if amount is None or amount > most:
            raise NotAllowed(f"the caller cannot grant more than its own limit: {name} must be set, to at most {most}")
        if name.startswith("cost_nanos") and granted.currency != own.currency:
            raise NotAllowed(f"the caller's own limits are in {own.currency}: limits on costs must be in it too")
        if name.endswith("_per_window") and granted.window != own.window:
            raise NotAllowed("the caller has a limit of its own per window: the window must be the same")


def _amount(limits: Limits, name: str) -> int | None:
    """The limit of that name as it applies."""
    amount: int | None = getattr(limits, name)
    if amount is None and name in BURSTS:
        amount = getattr(limits, BURSTS[name])
    return amount
