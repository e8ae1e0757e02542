"""From the name of a model to the models that answer it, in the order in which they are asked."""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import msgspec
import structlog

from mcp_server.errors import MCPError, ModelNotFound, UnsupportedByModel
from mcp_server.interfaces import ModelLookup, Provider, TokenCounter
from mcp_server.models.circuit import Circuit
from mcp_server.models.failover import Policy
from mcp_server.models.target import Limits, Price, Target
from mcp_server.values import Capabilities, Model, ModelState, Struct

replace = msgspec.structs.replace
T = TypeVar("T", Model, Limits)
log = structlog.get_logger("contextprotocol.routing")

SNAPSHOT_SECONDS: Final = 1.0
"""How old what is known of the providers' models may be."""
WILDCARD: Final = "*"
"""Stands for any text in the name of a route, and in its targets for that same text."""


class RoutePlan(Struct):
    """One name and the models behind it, as configured."""

    targets: tuple[str, ...]
    """Their names, ``provider/model``, in the order in which they are asked."""
    weights: tuple[float, ...] = ()
    """How often each is the first to be asked, in proportion; empty: the first one always is."""
    policy: Policy = Policy()
    """How often and how soon a turn tries again."""


class ModelOverride(Struct):
    """What is configured of the models that a pattern fits; what is ``None`` stays as it is."""

    context_window: int | None = None
    """The most tokens that prompt and answer may have together."""
    capabilities: Capabilities | None = None
    """What they can do."""
    price: Price | None = None
    """What their tokens cost."""
    first_token: float | None = None
    """As in :class:`~mcp_server.models.target.Limits`."""
    silence: float | None = None
    attempt: float | None = None


class Routing(Struct):
    """How models are found and asked, as configured."""

    aliases: Mapping[str, str] = {}
    """Shorter names of models and routes."""
    routes: Mapping[str, RoutePlan] = {}
    """By name; a name with a :data:`WILDCARD` stands for many, and the first that fits is taken. One without a ``/``
    fits no name with one."""
    overrides: Mapping[str, ModelOverride] = {}
    """By a pattern of ``provider/model``; all that fit apply, the later over the earlier."""
    policy: Policy = Policy()
    """Of models that are named without a route."""
    limits: Limits = Limits()
    """Of calls to models that no override fits."""
    circuit_failures: int = 5
    """After how many failures in a row a provider is left alone."""
    circuit_seconds: float = 30.0
    """And for how long."""


class Route(Struct):
    """Where a call goes."""

    targets: tuple[Target, ...]
    """The models, in the order in which they are asked; at least one."""
    weights: tuple[float, ...] = ()
    """As in :class:`RoutePlan`."""
    policy: Policy = Policy()
    """How often and how soon a turn tries again."""

    def able(self, needs: Sequence[str], draw: float) -> tuple[Target, ...]:
        """The models that have all the capabilities ``needs``, in the order in which they are asked.

        Args:
            needs: names of fields of :class:`~mcp_server.values.Capabilities`.
            draw: a random number from 0 to 1, which chooses the first by weight.

        Raises:
            UnsupportedByModel: there is none.
        """
        able = [target for target in self.targets if not target.lacks(needs)]
        if not able:
            first = self.targets[0]
            lacking = first.lacks(needs)
            names = ", ".join([target.name for target in self.targets])
            raise UnsupportedByModel(
                f"{names} cannot do {lacking}: choose another model; ListModels says what each can do",
                metadata={"model": first.name, "capability": lacking},
            )
        if self.weights:
            able = _drawn(able, [self.weights[self.targets.index(target)] for target in able], draw)
        # One that is known to be out of order is asked when all others have failed.
        return tuple(sorted(able, key=lambda target: target.model.state is ModelState.UNAVAILABLE))


def _drawn(targets: list[Target], weights: Sequence[float], draw: float) -> list[Target]:
    """The targets, one of them drawn by weight to the front."""
    point = draw * sum(weights)
    for target, weight in zip(targets, weights, strict=True):
        point -= weight
        if point < 0:
            return [target, *[other for other in targets if other is not target]]
    return targets


class Catalogue(Struct):
    """The models of all providers at one moment."""

    targets: Mapping[str, Target]
    """By ``provider/model``."""
    aliases: Mapping[str, str]
    """Shorter names and the model or route that each means."""
    router: Router
    """Knows more than what is listed."""

    def resolve(self, *names: str) -> Route:
        """The route of the first name that is not empty.

        Raises:
            ModelNotFound: no provider answers to it, or all are empty.
        """
        name = next((name for name in names if name), "")
        name = self.aliases.get(name, name)
        plan, rest = self.router.plan(name)
        if plan is not None:
            found = [self._target(target.replace(WILDCARD, rest)) for target in plan.targets]
            targets = tuple([target for target in found if target is not None])
            if targets:
                weights = plan.weights and tuple(
                    [weight for weight, target in zip(plan.weights, found, strict=True) if target is not None]
                )
                return Route(targets=targets, weights=weights, policy=plan.policy)
        elif (target := self._target(name)) is not None:
            return Route(targets=(target,), policy=self.router.routing.policy)
        known = ", ".join(sorted({*self.aliases, *self.router.routing.routes, *self.targets})[:20])
        what = (
            f"no provider answers to the model {name!r}" if name else "the call names no model, and there is no default"
        )
        raise ModelNotFound(f"{what}: choose one of {known or 'none'}", metadata={"model": name})

    def _target(self, name: str) -> Target | None:
        return self.targets.get(name) or self.router.unlisted(name)


class Router:
    """Knows the providers, what they can answer with, and how they do.

    Args:
        providers: by their configured names.
        routing: how they are found and asked.
    """

    def __init__(self, providers: Mapping[str, Provider], routing: Routing) -> None:
        self.providers = providers
        self.routing = routing
        self.circuits = {
            name: Circuit(failures=routing.circuit_failures, open_seconds=routing.circuit_seconds) for name in providers
        }
        self._lookups: dict[str, ModelLookup] = {}
        self._counters: dict[str, TokenCounter] = {}
        for name, provider in providers.items():
            candidate: object = provider
            if isinstance(candidate, ModelLookup):
                self._lookups[name] = candidate
            if isinstance(candidate, TokenCounter):
                self._counters[name] = candidate
        self._catalogue = Catalogue(targets={}, aliases={}, router=self)
        self._fresh_until = 0.0

    async def catalogue(self) -> Catalogue:
        """What there is to choose from, at most a second old."""
        if time.monotonic() >= self._fresh_until:
            targets: dict[str, Target] = {}
            aliases: dict[str, str] = {}
            for name in self.providers:
                try:
                    models = await self.models_of(name)
                except MCPError as error:
                    log.warning("provider has no models now", provider=name, error=error.message)
                    continue
                for model in models:
                    target = self._target(name, model)
                    targets[target.name] = target
            # A model's own name is an alias for it as long as it is the only one of that name.
            for target in targets.values():
                short = target.model.name
                aliases[short] = "" if short in aliases else target.name
            unique = {short: full for short, full in aliases.items() if full and short not in targets}
            self._catalogue = Catalogue(targets=targets, aliases={**unique, **self.routing.aliases}, router=self)
            self._fresh_until = time.monotonic() + SNAPSHOT_SECONDS
        return self._catalogue

    async def models_of(self, provider: str) -> Sequence[Model]:
        """The models of one provider as they are now."""
        return [self._at_present(provider, model) for model in await self.providers[provider].models()]

    def _at_present(self, provider: str, model: Model) -> Model:
        if self.circuits[provider].wait <= 0:
            return model
        reason = "its provider has failed again and again, and is left alone for a while"
        return replace(model, state=ModelState.UNAVAILABLE, state_reason=reason)

    def plan(self, name: str) -> tuple[RoutePlan | None, str]:
        """The configured route of that name, and what its wildcard stands for."""
        plan = self.routing.routes.get(name)
        if plan is not None:
            return plan, ""
        for pattern, plan in self.routing.routes.items():
            before, star, after = pattern.partition(WILDCARD)
            if "/" in name and "/" not in pattern:
                continue  # it is a model's full name, which a route for short names must not catch
            if star and len(name) >= len(pattern) - 1 and name.startswith(before) and name.endswith(after):
                return plan, name[len(before) : len(name) - len(after)]
        return None, ""

    def unlisted(self, name: str) -> Target | None:
        """The model ``provider/model`` of a provider that does not list it and answers all the same."""
        provider_name, _, own = name.partition("/")
        lookup = self._lookups.get(provider_name)
        model = lookup.look_up(own) if own and lookup is not None else None
        return None if model is None else self._target(provider_name, self._at_present(provider_name, model))

    def _target(self, provider_name: str, model: Model) -> Target:
        provider, name = self.providers[provider_name], f"{provider_name}/{model.name}"
        limits, price = self.routing.limits, None
        for pattern, override in self.routing.overrides.items():
            if fnmatch.fnmatchcase(name, pattern):
                price = override.price or price
                model = _changed(model, override)
                limits = _changed(limits, override)
        return Target(
            provider_name=provider_name,
            provider=provider,
            circuit=self.circuits[provider_name],
            model=model,
            name=name,
            token_counter=self._counters.get(provider_name),
            limits=limits,
            price=price,
        )


def _changed(value: T, override: ModelOverride) -> T:
    """The value with those of its fields that the override sets."""
    fields = {name: getattr(override, name, None) for name in value.__struct_fields__}
    return replace(value, **{name: field for name, field in fields.items() if field is not None})
