"""From names to models: aliases, routes, wildcards, weights and overrides."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from mcp_server.errors import ModelNotFound, ProviderUnavailable, UnsupportedByModel
from mcp_server.models.catalogue import Catalogue, Route
from mcp_server.models.inventory import Inventory, find_route
from mcp_server.models.target import Limits
from mcp_server.settings import ModelOverrides, ModelSettings, PriceSettings, RouteSettings, RoutingSettings
from mcp_server.testing import EchoProvider
from mcp_server.values import Capabilities, Model, ModelState

CHAT = Capabilities(chat=True)


class Listing(EchoProvider):
    """Lists the models that it is told; of others it answers to those that begin with ``any``."""

    def __init__(self, *models: Model) -> None:
        self._listed = models

    async def models(self) -> Sequence[Model]:
        return self._listed

    def look_up(self, name: str, /) -> Model | None:
        return Model(name=name, capabilities=CHAT) if name.startswith("any") else None


class Away(EchoProvider):
    """Cannot even say what it has."""

    async def models(self) -> Sequence[Model]:
        raise ProviderUnavailable("it is away")


def model(name: str, **fields: object) -> Model:
    return Model(name=name, **{"capabilities": CHAT, **fields})  # type: ignore[arg-type]  # the fields of a Model


async def catalogue(
    settings: ModelSettings, routing: RoutingSettings | None = None, **providers: EchoProvider
) -> Catalogue:
    return await Inventory(providers, settings, routing or RoutingSettings()).catalogue()


def route(catalogue: Catalogue, *asked: str) -> Route:
    found, _ = find_route(catalogue, *asked)
    return found


def names(catalogue: Catalogue, *asked: str) -> list[str]:
    return [target.name for target in route(catalogue, *asked).targets]


async def test_a_model_has_several_names() -> None:
    """``provider/model``, its own if no other has that, and aliases; the first name that is given counts."""
    a, b = Listing(model("one"), model("both")), Listing(model("both"))
    found = await catalogue(ModelSettings(aliases={"short": "a/one"}), a=a, b=b)
    for asked in (("a/one",), ("one",), ("short",), ("", "one"), ("one", "b/both")):
        assert names(found, *asked) == ["a/one"]
    for asked in (("both",), ("a/none",), ("c/one",), ("",), ("/",), ("a/",)):
        with pytest.raises(ModelNotFound):
            route(found, *asked)


async def test_a_provider_that_lists_nothing_does_not_hide_the_others() -> None:
    """Its models are passed over."""
    settings = ModelSettings(routes={"r": RouteSettings(targets=("away/x", "a/one"), weights=(9, 1))})
    found = await catalogue(settings, away=Away(), a=Listing(model("one")))
    assert names(found, "r") == ["a/one"]
    assert route(found, "r").weights == (1,)


class Slow(EchoProvider):
    """Takes a moment to list its models, and counts how often it does."""

    def __init__(self) -> None:
        self.lists = 0

    async def models(self) -> Sequence[Model]:
        await asyncio.sleep(0.01)
        self.lists += 1
        return await super().models()


async def test_calls_at_one_moment_share_a_snapshot() -> None:
    """Each of them could find that the last one is too old; the cancellation of one does not matter to the others."""
    slow = Slow()
    inventory = Inventory({"slow": slow}, ModelSettings(), RoutingSettings())
    calls = [asyncio.create_task(inventory.catalogue()) for _ in range(10)]
    await asyncio.sleep(0)
    calls[0].cancel()
    first, *others = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(first, asyncio.CancelledError)
    assert all(other is others[0] for other in others)
    assert isinstance(others[0], Catalogue)
    assert slow.lists == 1


async def test_models_that_are_not_listed_are_asked_for() -> None:
    """Alone, and behind routes."""
    settings = ModelSettings(routes={"x-*": RouteSettings(targets=("a/any-*", "a/one"))})
    found = await catalogue(settings, a=Listing(model("one")))
    assert names(found, "a/anything") == ["a/anything"]
    assert names(found, "x-y") == ["a/any-y", "a/one"]
    with pytest.raises(ModelNotFound):
        route(found, "a/other")


async def test_the_first_route_that_fits_is_taken() -> None:
    """A name without a wildcard goes before all with one; a full name is caught only by a route with a ``/``."""
    plans = {
        "gpt-*": RouteSettings(targets=("a/any-*",)),
        "*": RouteSettings(targets=("a/one",)),
        "b/*": RouteSettings(targets=("a/any-*", "b/any-*")),
        "gpt-best": RouteSettings(targets=("a/one", "a/any")),
    }
    found = await catalogue(ModelSettings(routes=plans), a=Listing(model("one"), model("two")), b=Listing())
    assert names(found, "a/two") == ["a/two"]
    assert names(found, "b/5") == ["a/any-5", "b/any-5"]
    assert names(found, "gpt-best") == ["a/one", "a/any"]
    assert names(found, "gpt-") == ["a/any-"]
    assert names(found, "gpt-5") == ["a/any-5"]
    assert names(found, "other") == ["a/one"]


async def test_overrides_apply_one_over_the_other() -> None:
    """What one leaves unset, the one before it decides, then the provider."""
    settings = ModelSettings(
        settings={
            "a/*": ModelOverrides(context_window=10, price=PriceSettings(input=1), silence_timeout=5),
            "a/on*": ModelOverrides(capabilities=("chat", "tools"), context_window=20),
            "b/*": ModelOverrides(context_window=30),
        },
    )
    found = await catalogue(
        settings,
        RoutingSettings(first_token_timeout=1, silence_timeout=2),
        a=Listing(model("one", context_window=5), model("two", context_window=5)),
    )
    one, two = found.targets["a/one"], found.targets["a/two"]
    assert (one.model.context_window, two.model.context_window) == (20, 10)
    assert (one.model.capabilities.tools, two.model.capabilities.tools) == (True, False)
    assert one.price == two.price == PriceSettings(input=1)
    assert one.limits == Limits(first_token=1, silence=5)
    assert route(found, "a/anything").targets[0].model.context_window == 10


async def test_only_the_asterisk_of_a_pattern_stands_for_something_else() -> None:
    """Names of models may have brackets and question marks."""
    settings = ModelSettings(settings={"a/on[e]": ModelOverrides(context_window=10)})
    found = await catalogue(settings, a=Listing(model("one", context_window=5), model("on[e]", context_window=5)))
    windows = [found.targets[name].model.context_window for name in ("a/one", "a/on[e]")]
    assert windows == [5, 10]


async def test_weights_choose_the_first() -> None:
    """In proportion; the others follow in their order."""
    settings = ModelSettings(routes={"r": RouteSettings(targets=("a/1", "a/2", "a/3"), weights=(1, 3, 0))})
    found = route(await catalogue(settings, a=Listing(model("1"), model("2"), model("3"))), "r")
    drawn = Counter(
        tuple(target.model.name for target in found.candidates(["chat"], n / 100).targets) for n in range(100)
    )
    assert drawn == {("1", "2", "3"): 25, ("2", "1", "3"): 75}
    assert [target.model.name for target in found.candidates(["chat"], 1.0).targets] == ["1", "2", "3"]


async def test_only_models_that_can_are_asked_and_those_out_of_order_last() -> None:
    """With none left the call is refused, with what they lack."""
    tools = Capabilities(chat=True, tools=True)
    listed = [
        model("plain"),
        model("broken", capabilities=tools, state=ModelState.UNAVAILABLE),
        model("good", capabilities=tools),
    ]
    settings = ModelSettings(routes={"r": RouteSettings(targets=("a/plain", "a/broken", "a/good"), max_attempts=7)})
    found = route(await catalogue(settings, a=Listing(*listed)), "r")
    assert found.policy.max_attempts == 7
    assert [target.model.name for target in found.candidates(["chat", "tools"], 0.5).targets] == ["good", "broken"]
    with pytest.raises(UnsupportedByModel, match="images") as refused:
        found.candidates(["chat", "images"], 0.5)
    assert refused.value.metadata == {"model": "a/plain", "capability": "images"}
