"""The inventory: the configured providers and what they can answer with now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from traceback import TracebackException
from typing import Any, Final, Self

import msgspec
import structlog

from mcp_server.errors import MCPError, ProviderUnavailable, trace_of
from mcp_server.interfaces import Loader, ModelLookup, Provider, TokenCounter, Unloader
from mcp_server.models.catalogue import Catalogue, LookUpNeeded, Route
from mcp_server.models.circuit import Circuits
from mcp_server.models.target import Limits, Target
from mcp_server.settings.tables import ModelOverrides, ModelSettings, RoutingSettings
from mcp_server.values import Capabilities, Model, ModelState
from mcp_server.values.pattern import matches

replace = msgspec.structs.replace
log = structlog.get_logger("contextprotocol.models")

SNAPSHOT_SECONDS: Final = 1.0
"""How old a snapshot of the providers' models may be."""
LIST_SECONDS: Final = 1.0
"""How long a provider may take to list its models."""
PAUSE_SECONDS: Final = 30.0
"""How long a provider that exceeded :data:`LIST_SECONDS` is not asked again."""
FAILED_SECONDS: Final = 5.0
"""How long a provider that could not list its models otherwise is not asked again."""
MAX_UNLISTED: Final = 1000
"""For how many models that no provider lists circuit breakers are kept: callers may ask for any name."""


class Inventory:
    """Asks the providers for their models and makes the catalogue of them.

    Args:
        providers: the providers by their configured names.
        models: aliases, routes and what is configured about models.
        routing: limits, and when a circuit breaker opens.
    """

    def __init__(self, providers: Mapping[str, Provider], models: ModelSettings, routing: RoutingSettings) -> None:
        self.providers = providers
        self._models = models
        self._routing = routing
        self._limits = Limits(
            first_token=routing.first_token_timeout,
            fallback=routing.fallback_timeout,
            silence=routing.silence_timeout,
            attempt=routing.attempt_timeout,
        )
        self._lookups: dict[str, ModelLookup] = {}
        self._counters: dict[str, TokenCounter] = {}
        self._loaders: dict[str, Loader] = {}
        for name, provider in providers.items():
            candidate: object = provider
            if isinstance(candidate, ModelLookup):
                self._lookups[name] = candidate
            if isinstance(candidate, TokenCounter):
                self._counters[name] = candidate
            if isinstance(candidate, Loader):
                self._loaders[name] = candidate
        self._circuits: dict[str, dict[str, Circuits]] = {name: {} for name in providers}
        self._last: dict[str, Sequence[Model]] = {}
        self._ask_again: dict[str, float] = {}
        self._failures: dict[str, TracebackException] = {}
        self._catalogue: Catalogue | None = None
        self._fresh_until = 0.0
        self._renewing = asyncio.Lock()
        self.users = 0
        """How many turns and requests use it."""
        self._unused = asyncio.Event()

    def reconfigured(self, providers: Mapping[str, Provider], models: ModelSettings, routing: RoutingSettings) -> Self:
        """An inventory with other settings. Of providers that are the same it remembers what this one knows: their
        models, and their circuit breakers unless their limits have changed."""
        new = type(self)(providers, models, routing)
        same = [name for name, provider in providers.items() if self.providers.get(name) is provider]
        new._last.update({name: self._last[name] for name in same if name in self._last})
        new._ask_again.update({name: self._ask_again[name] for name in same if name in self._ask_again})
        limits = ("circuit_failures", "circuit_seconds")
        if all(getattr(routing, limit) == getattr(self._routing, limit) for limit in limits):
            new._circuits.update({name: self._circuits[name] for name in same})
        return new

    def begin_use(self) -> None:
        """Note that a turn or request begins to use its models; :meth:`end_use` is called once it has ended."""
        self.users += 1

    def end_use(self) -> None:
        """Note that a turn or request has ended."""
        self.users -= 1
        if not self.users:
            self._unused.set()

    async def unused(self) -> None:
        """Return when no turn and no request uses it any more. For an inventory that no new ones come to."""
        while self.users:
            self._unused.clear()
            await self._unused.wait()

    async def catalogue(self) -> Catalogue:
        """What there is to choose from, at most a second old."""
        if (catalogue := self._fresh()) is not None:
            return catalogue
        async with self._renewing:
            catalogue = self._fresh()  # calls that waited here need no snapshot of their own
            if catalogue is None:
                catalogue = self._catalogue = await self._snapshot()
                self._fresh_until = time.monotonic() + SNAPSHOT_SECONDS
            return catalogue

    def _fresh(self) -> Catalogue | None:
        """The last snapshot, unless it is too old."""
        return self._catalogue if time.monotonic() < self._fresh_until else None

    async def ready(self, provider: str) -> bool:
        """Whether the provider has a model that can answer now. A model that is loaded again, after it was unloaded,
        can: calls only wait."""
        try:
            models = await self._models_of(provider)
        except ProviderUnavailable:
            return False
        circuits, unloader = self._circuits[provider], self.providers[provider]
        again = [one.model for one in unloader.loaded() if one.loads] if isinstance(unloader, Unloader) else []
        return any(
            (model.state is ModelState.READY or (model.state is ModelState.LOADING and model.name in again))
            and (model.name not in circuits or circuits[model.name].closed)
            for model in models
        )

    async def _models_of(self, provider: str) -> Sequence[Model]:
        """The models of one provider as they are now.

        Raises:
            ProviderUnavailable: the provider cannot list them.
        """
        try:
            async with asyncio.timeout(LIST_SECONDS):
                models = [*await self.providers[provider].models()]
            for model in models:
                msgspec.convert(msgspec.to_builtins(model), Model)  # plug-ins may return anything
        except Exception as error:
            problem = error.message if isinstance(error, MCPError) else f"{type(error).__name__}: {error}"
            log.warning("provider cannot list its models", provider=provider, error=problem)
            raise ProviderUnavailable(
                f"the provider {provider} cannot list its models now", metadata={"provider": provider}
            ) from error
        return models

    async def _listed(self, provider: str) -> Sequence[Model]:
        """The models of one provider, or those that it listed last if it cannot list them now. One that hangs is not
        asked again for a while."""
        start = time.monotonic()
        if start >= self._ask_again.get(provider, 0.0):
            try:
                self._last[provider] = await self._models_of(provider)
                self._failures.pop(provider, None)
            except ProviderUnavailable as error:
                self._failures[provider] = trace_of(error.__cause__ or error)
                # Whatever it failed of, the log need not say so every second.
                self._ask_again[provider] = time.monotonic() + FAILED_SECONDS
            # Also when it has blocked the event loop, which no timeout can interrupt.
            if time.monotonic() - start >= LIST_SECONDS:
                self._ask_again[provider] = time.monotonic() + PAUSE_SECONDS
        return self._last.get(provider, ())

    async def _snapshot(self) -> Catalogue:
        targets: dict[str, Target] = {}
        # Side by side: a provider that hangs holds up neither the others nor, for more than a moment, any call.
        listed = await asyncio.gather(*[self._listed(name) for name in self.providers])
        for name, models in zip(self.providers, listed, strict=True):
            for model in models:
                target = self._target(name, model)
                targets[target.name] = target
        # A model's own name is an alias for it as long as it is the only one of that name.
        short_names: dict[str, str] = {}
        for target in targets.values():
            short = target.model.name
            short_names[short] = "" if short in short_names else target.name
        unique = {short: full for short, full in short_names.items() if full and short not in targets}
        return Catalogue(
            targets=targets,
            aliases={**unique, **self._models.aliases},
            routes=self._models.routes,
            routing=self._routing,
            look_up=self._look_up,
            open_providers=frozenset(self._lookups),
            failures=self._failures,
        )

    def _look_up(self, name: str) -> Target | TracebackException | None:
        provider, _, own_name = name.partition("/")
        try:
            model = self._lookups[provider].look_up(own_name)
        except Exception as error:  # a plug-in may raise anything; the other models of a route are asked all the same
            log.error("provider cannot look up a model", provider=provider, model=own_name, exc_info=error)
            return trace_of(error)
        return None if model is None else self._target(provider, model)

    def open_circuits(self, provider: str) -> int:
        """How many circuit breakers of a provider's models are open."""
        return sum(circuits.open for circuits in tuple(self._circuits[provider].values()))  # from other threads too

    def _circuits_of(self, provider: str, model: str) -> Circuits:
        of_provider = self._circuits[provider]
        circuits = of_provider.pop(model, None)
        if circuits is None:
            if len(of_provider) >= MAX_UNLISTED + len(self._last.get(provider, ())):
                del of_provider[next(iter(of_provider))]
            circuits = Circuits(failures=self._routing.circuit_failures, open_seconds=self._routing.circuit_seconds)
        # Behind the others: those of listed models, which each snapshot uses, are never the oldest.
        of_provider[model] = circuits
        return circuits

    def _target(self, provider_name: str, model: Model) -> Target:
        name = f"{provider_name}/{model.name}"
        limits, price = self._limits, None
        for pattern, override in self._models.settings.items():
            if matches(pattern, name):
                price = override.price or price
                model, limits = _overridden(model, limits, override)
        return Target(
            provider_name=provider_name,
            provider=self.providers[provider_name],
            circuits=self._circuits_of(provider_name, model.name),
            model=model,
            name=name,
            token_counter=self._counters.get(provider_name),
            loader=self._loaders.get(provider_name),
            limits=limits,
            price=price,
        )


def find_route(catalogue: Catalogue, *names: str) -> tuple[Route, Catalogue]:
    """As :meth:`Catalogue.route`, asking providers for unlisted models if needed, and the catalogue with these models.

    Calls plug-ins: not for use inside a transaction.
    """
    while True:
        try:
            return catalogue.route(*names), catalogue
        except LookUpNeeded as needed:
            catalogue = catalogue.with_unlisted(needed.name)


def _overridden(model: Model, limits: Limits, override: ModelOverrides) -> tuple[Model, Limits]:
    """The model and its limits with what is configured for it."""
    changes: dict[str, Any] = {}
    if override.context_window is not None:
        changes["context_window"] = override.context_window
    if override.capabilities is not None:
        changes["capabilities"] = Capabilities(**dict.fromkeys(override.capabilities, True))
    times: dict[str, Any] = {
        "first_token": override.first_token_timeout,
        "fallback": override.fallback_timeout,
        "silence": override.silence_timeout,
        "attempt": override.attempt_timeout,
    }
    times = {name: seconds for name, seconds in times.items() if seconds is not None}
    return replace(model, **changes) if changes else model, replace(limits, **times) if times else limits
