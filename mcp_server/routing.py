"""From the name of a model to the provider that answers it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import structlog

from mcp_server.errors import MCPError, ModelNotFound, UnsupportedByModel
from mcp_server.interfaces import Provider, TokenCounter
from mcp_server.messages import Model, Struct

log = structlog.get_logger("contextprotocol.routing")

SNAPSHOT_SECONDS = 1.0
"""How old what is known of the providers' models may be."""


class Route(Struct):
    """Where a call goes."""

    provider_name: str
    """The provider's configured name."""
    provider: Provider
    """The provider."""
    model: Model
    """The model, under the provider's own name."""
    name: str
    """``provider/model``."""
    token_counter: TokenCounter | None
    """The provider, if it can count tokens."""

    def require(self, capability: str) -> None:
        """Raise :class:`~mcp_server.errors.UnsupportedByModel` unless the model has that capability."""
        if not getattr(self.model.capabilities, capability):
            raise UnsupportedByModel(
                f"the model {self.name} cannot do {capability}: choose another; ListModels says what each can do",
                metadata={"model": self.name, "capability": capability},
            )


class Catalogue(Struct):
    """The models of all providers at one moment."""

    routes: Mapping[str, Route]
    """By ``provider/model``."""
    aliases: Mapping[str, str]
    """Shorter names and the ``provider/model`` that each means."""

    def resolve(self, *names: str) -> Route:
        """The route of the first name that is not empty.

        Raises:
            ModelNotFound: no provider answers to it, or all are empty.
        """
        name = next((name for name in names if name), "")
        route = self.routes.get(self.aliases.get(name, name))
        if route is None:
            known = ", ".join(sorted({*self.aliases, *self.routes})[:20])
            what = (
                f"no provider answers to the model {name!r}"
                if name
                else "the call names no model, and there is no default"
            )
            raise ModelNotFound(f"{what}: choose one of {known or 'none'}", metadata={"model": name})
        return route


class Router:
    """Knows the providers and what they can answer with.

    Args:
        providers: by their configured names.
        aliases: shorter names of models.
    """

    def __init__(self, providers: Mapping[str, Provider], aliases: Mapping[str, str]) -> None:
        self.providers = providers
        self._aliases = aliases
        self._catalogue = Catalogue(routes={}, aliases=aliases)
        self._fresh_until = 0.0

    async def catalogue(self) -> Catalogue:
        """What there is to choose from, at most a second old."""
        if time.monotonic() >= self._fresh_until:
            routes: dict[str, Route] = {}
            aliases: dict[str, str] = {}
            for name, provider in self.providers.items():
                try:
                    models = await provider.models()
                except MCPError as error:
                    log.warning("provider has no models now", provider=name, error=error.message)
                    continue
                for model in models:
                    route = Route(
                        provider_name=name,
                        provider=provider,
                        model=model,
                        name=f"{name}/{model.name}",
                        token_counter=provider if isinstance(provider, TokenCounter) else None,
                    )
                    routes[route.name] = route
            # A model's own name is an alias for it as long as it is the only one of that name.
            for route in routes.values():
                short = route.model.name
                aliases[short] = "" if short in aliases else route.name
            unique = {short: full for short, full in aliases.items() if full and short not in routes}
            self._catalogue = Catalogue(routes=routes, aliases={**unique, **self._aliases})
            self._fresh_until = time.monotonic() + SNAPSHOT_SECONDS
        return self._catalogue

    async def models_of(self, provider: str) -> Sequence[Model]:
        """The models of one provider as they are now."""
        return await self.providers[provider].models()
