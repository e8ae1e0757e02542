"""The catalogue: names, aliases and routes, and the models that answer to them, as they are at one moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from traceback import TracebackException
from typing import Final

import msgspec

from mcp_server.errors import ModelNotFound, NotAllowed, UnsupportedByModel
from mcp_server.models.target import Target
from mcp_server.settings.tables import RouteSettings, RoutingSettings
from mcp_server.values import ModelState, Struct
from mcp_server.values.pattern import matches

replace = msgspec.structs.replace

WILDCARD: Final = "*"
"""Stands for any text in the name of a route, and in its targets for that same text."""


class Candidates(Struct):
    """The models that one call may ask, in order."""

    targets: tuple[Target, ...]
    """The models; at least one."""
    policy: RoutingSettings
    """How often and how soon to try again."""


class Route(Struct):
    """The models behind one name."""

    targets: tuple[Target, ...]
    """The models, in the order in which they are configured; at least one."""
    policy: RoutingSettings
    """How often and how soon to try again."""
    weights: tuple[float, ...] = ()
    """How often each is asked first, in proportion; empty: the first one always is."""

    def candidates(self, needs: Sequence[str], draw: float) -> Candidates:
        """The models that have all the capabilities ``needs``, in the order in which they are asked.

        Args:
            needs: names of fields of :class:`~mcp_server.values.Capabilities`.
            draw: a random number from 0 to 1, which chooses the first one by weight.

        Raises:
            UnsupportedByModel: no model has them all.
        """
        able = [target for target in self.targets if not target.lacks(needs)]
        if not able:
            first = self.targets[0]
            lacking = first.lacks(needs)
            names = ", ".join([target.name for target in self.targets])
            raise UnsupportedByModel(
                f"{lacking} is not supported by {names}: choose another model; ListModels lists the capabilities of "
                "each",
                metadata={"model": first.name, "capability": lacking},
            )
        if len(able) > 1:
            if self.weights:
                able = _drawn(able, [self.weights[self.targets.index(target)] for target in able], draw)
            # A model that is known to be unavailable is asked last.
            able.sort(key=lambda target: target.model.state is ModelState.UNAVAILABLE)
        return Candidates(targets=tuple(able), policy=self.policy)


class LookUpNeeded(Exception):
    """A name that no provider lists may still be answered by a provider that has to be asked for it.

    Whoever resolves a name catches this, calls :meth:`Catalogue.with_unlisted`, and resolves it again.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Catalogue(Struct, gc=True):
    """A snapshot of what can be asked. It resolves names without calling a provider."""

    targets: Mapping[str, Target]
    """All models that providers list, by ``provider/model``."""
    aliases: Mapping[str, str]
    """Shorter names and the model or route that each stands for."""
    routes: Mapping[str, RouteSettings]
    """Names that stand for several models; a name with a :data:`WILDCARD` stands for many, and the first match counts.
    One without a ``/`` matches no name with one."""
    routing: RoutingSettings
    """How models are asked that are named without a route."""
    look_up: Callable[[str], Target | TracebackException | None]
    """Asks the provider of an unlisted ``provider/model`` whether it answers to it. What the provider raises is
    returned."""
    open_providers: frozenset[str] = frozenset()
    """The providers that answer to models that they do not list."""
    unlisted: Mapping[str, Target | None] = {}
    """The unlisted models that were looked up, by ``provider/model``."""
    allowed: tuple[str, ...] | None = None
    """The models that the caller may use, as patterns of ``provider/model``; ``None``: all."""
    failures: Mapping[str, TracebackException] = {}
    """What providers raised that could not say which models they have, by the name of the provider; or that could not
    look up a model for this call, by ``provider/model``."""

    def restricted(self, allowed: tuple[str, ...] | None) -> Catalogue:
        """The same catalogue for a caller who may use only these models, fallbacks included."""
        return self if allowed is None else replace(self, allowed=allowed)

    def with_unlisted(self, name: str) -> Catalogue:
        """The same catalogue after asking the provider of an unlisted model for it."""
        found = self.look_up(name)
        if isinstance(found, TracebackException):
            # It may hold what this caller wrote: it is not for others.
            return replace(self, unlisted={**self.unlisted, name: None}, failures={**self.failures, name: found})
        return replace(self, unlisted={**self.unlisted, name: found})

    def listed(self) -> Iterator[Target]:
        """The listed models that the caller may use."""
        return (target for target in self.targets.values() if self._allows(target.name))

    def route(self, *names: str) -> Route:
        """The route of the first name that is not empty.

        Raises:
            ModelNotFound: no provider has it, or all names are empty.
            NotAllowed: the caller may not use any model behind it, whether there is one or not.
            LookUpNeeded: the provider has to be asked first.
        """
        name = next((name for name in names if name), "")
        target_name = self.aliases.get(name, name)
        settings, matched = self._route_settings(target_name)
        if settings is None:
            self._check_allowed(name, [target_name])
            target = self._target(target_name)
            if target is None:
                raise self._not_found(name)
            return Route(targets=(target,), policy=self.routing)
        full_names = [full_name.replace(WILDCARD, matched) for full_name in settings.targets]
        self._check_allowed(name, full_names)
        found = [self._target(full_name) if self._allows(full_name) else None for full_name in full_names]
        usable = [target is not None for target in found]
        if not any(usable):
            raise self._not_found(name)
        weights = settings.weights
        return Route(
            targets=tuple([target for target, use in zip(found, usable, strict=True) if use and target is not None]),
            weights=weights and tuple([weight for weight, use in zip(weights, usable, strict=True) if use]),
            policy=self._policy(settings),
        )

    def _policy(self, route: RouteSettings) -> RoutingSettings:
        if route.max_attempts is None and route.on_cut is None:
            return self.routing
        return replace(
            self.routing,
            max_attempts=route.max_attempts or self.routing.max_attempts,
            on_cut=route.on_cut or self.routing.on_cut,
        )

    def _route_settings(self, name: str) -> tuple[RouteSettings | None, str]:
        """The configured route of that name, and the text that its wildcard stands for."""
        exact = self.routes.get(name)
        if exact is not None:
            return exact, ""
        for pattern, route in self.routes.items():
            before, star, after = pattern.partition(WILDCARD)
            if "/" in name and "/" not in pattern:
                continue  # a model's full name, which a route for short names must not catch
            if star and len(name) >= len(pattern) - 1 and name.startswith(before) and name.endswith(after):
                return route, name[len(before) : len(name) - len(after)]
        return None, ""

    def _target(self, name: str) -> Target | None:
        target = self.targets.get(name)
        if target is not None or name in self.unlisted:
            return target or self.unlisted[name]
        provider, _, model = name.partition("/")
        if model and provider in self.open_providers:
            raise LookUpNeeded(name)
        return None

    def _allows(self, name: str) -> bool:
        return self.allowed is None or any(matches(pattern, name) for pattern in self.allowed)

    def _check_allowed(self, name: str, full_names: Sequence[str]) -> None:
        """Refuse a name of which the caller may not use any model. Whether there is one is not looked at, so that the
        answer does not tell.

        Raises:
            NotAllowed: that is so.
        """
        if name and self.allowed is not None and not any(map(self._allows, full_names)):
            raise NotAllowed(
                f"the model {name} is not allowed for this caller: choose one of {self._choices()}",
                metadata={"model": name},
            )

    def _not_found(self, name: str) -> ModelNotFound:
        problem = f"no provider has the model {name!r}" if name else "the call names no model, and there is no default"
        error = ModelNotFound(f"{problem}: choose one of {self._choices()}", metadata={"model": name})
        error.unexpected = self.failures.get(name) or self.failures.get(name.partition("/")[0])
        return error

    def _choices(self) -> str:
        """Names for an error. To a caller who may not use all models, other names say nothing."""
        further = {*self.aliases, *self.routes} if self.allowed is None else set()
        return ", ".join(sorted({*further, *[target.name for target in self.listed()]})[:20]) or "none"


def _drawn(targets: list[Target], weights: Sequence[float], draw: float) -> list[Target]:
    """The targets, one of them drawn by weight to the front."""
    point = draw * sum(weights)
    for target, weight in zip(targets, weights, strict=True):
        point -= weight
        if point < 0:
            return [target, *[other for other in targets if other is not target]]
    return targets
