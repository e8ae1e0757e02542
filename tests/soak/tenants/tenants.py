"""The tenants, their keys, and the settings file of their server."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mcp_server.values import SCOPES
from tests.auth.keys import NewKey, new_key

NAMES: Final = ("amber", "birch", "cedar")
PROVIDERS: Final = ("north", "south")
"""Both are the same upstream, which tells them apart by the provider's key."""
UNLIMITED: Final = 10**12
"""Tokens per month that nobody uses up: a limit that does not bind, of which WhoAmI says what is used and held."""
OWN_SCOPES: Final = tuple(scope for scope in SCOPES if scope != "operator")
GRACE: Final = 0.5
"""Seconds that a turn goes on without readers."""

_ROUTING: Final = """
[routing]
max_attempts = 2
backoff = 0.01
max_backoff = 0.05
first_token_timeout = 2
fallback_timeout = 1
silence_timeout = 1
retry_after_wait = 0
circuit_failures = 1000
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tenant:
    """One of them."""

    name: str
    """Begins the ids of its sessions and requests."""
    canary: str
    """A word in all of its texts that nobody else may see."""
    keys: tuple[NewKey, NewKey]
    """Two that stand in the settings all the time."""
    guest: NewKey
    """One that comes and goes."""


def new_tenants() -> list[Tenant]:
    """The tenants, with new keys."""
    return [
        Tenant(
            name=name,
            canary=f"canary-of-{name}",
            keys=(new_key(name, OWN_SCOPES), new_key(name, OWN_SCOPES)),
            guest=new_key(name, ("chat", "sessions.read", "sessions.write")),
        )
        for name in NAMES
    ]


@dataclass(slots=True)
class SettingsFile:
    """The settings file, written anew for each change."""

    path: Path
    address: str
    admin: str
    upstream: str
    """The ``base_url`` of the provider."""
    tenants: list[Tenant]
    operator: NewKey
    budgets: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NAMES, UNLIMITED))
    """Tokens per month, by tenant."""
    price: float = 1.0
    """Of a million tokens of prompts; those of answers cost twice as much."""
    guests: set[str] = field(default_factory=lambda: set(NAMES))
    """The tenants whose guest has a key."""

    def write(self) -> None:
        """Replace the file in one step."""
        temporary = self.path.with_suffix(".new")
        temporary.write_text(self._text())
        temporary.replace(self.path)

    def _text(self) -> str:
        tables = [
            f'[server]\naddress = "{self.address}"\ndrain_timeout = 1',
            f'[admin]\naddress = "{self.admin}"',
            f'[store]\ntype = "sqlite"\npath = "{self.path.parent}/sessions.db"',
            "[sessions]\nsweep_interval = 1",
            f"[turns]\ndisconnect_grace = {GRACE}\njournal_interval = 0.2\nheartbeat_interval = 0.5",
            "[admission]\ndefault_output_tokens = 64",
            _ROUTING,
            '[models]\ndefault = "answers"\ndefault_embedding = "answers"',
            f"[models.routes.answers]\ntargets = {[f'{name}/m' for name in PROVIDERS]}\nweights = [1, 1]",
            f'[models.settings."*".price]\ninput = {self.price}\noutput = {2 * self.price}',
            "[auth]\nstored_keys = true",
        ]
        tables += [
            f'[providers.{name}]\ntype = "openai"\nbase_url = "{self.upstream}"\napi_key = "{name}"'
            for name in PROVIDERS
        ]
        for tenant in self.tenants:
            # Of the second tenant two clients at a time are refused something now and then.
            turns = 2 if tenant.name == NAMES[1] else 50
            limits = f"concurrent_turns = {turns}\ntokens_per_month = {self.budgets[tenant.name]}"
            tables.append(f"[limits.{tenant.name}]\n{limits}")
            tables.append(f'[tenants.{tenant.name}]\nlimits = "{tenant.name}"')
            guests = [tenant.guest] if tenant.name in self.guests else []
            tables += [_key(key) for key in (*tenant.keys, *guests)]
        return "\n\n".join([*tables, _key(self.operator)])


def _key(key: NewKey) -> str:
    scopes = list(key.table.scopes)
    return f'[auth.keys.{key.id}]\nhash = "{key.table.hash}"\ntenant = "{key.table.tenant}"\nscopes = {scopes}'
