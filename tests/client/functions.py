"""Functions that the tests let models call."""

from __future__ import annotations

import asyncio
import enum
import functools
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypedDict

from mcp_client import Blob, Text


class Unit(enum.Enum):
    """Of temperatures."""

    CELSIUS = "C"
    FAHRENHEIT = "F"


@dataclass
class Place:
    """Where."""

    city: str
    country: str = "IT"


class Range(TypedDict, total=False):
    """From when to when."""

    first: int
    last: int


def temperature(place: Place, unit: Unit = Unit.CELSIUS) -> str:
    """How warm it is somewhere.

    Now, not tomorrow.

    Args:
        place: where; a city
            and its country.
        unit: of the answer.

    Returns:
        A number.
    """
    return f"21 {unit.value} in {place.city}, {place.country}"


async def slow_temperature(city: str) -> dict[str, Any]:
    """How warm it is, after a while."""
    await asyncio.sleep(0.01)
    return {"city": city, "degrees": 21.5}


def broken(times: int) -> None:
    """Does not work."""
    raise LookupError(f"no such thing, {times} times")


def everything(
    text: Annotated[str, "any text"],
    number: float,
    choice: Literal["a", 1],
    several: list[int],
    table: dict[str, bool],
    when: Range,
    maybe: int | None = None,
    *,
    rest: Any = None,
) -> list[Text]:
    """:param number: how much."""
    return [Text(text=repr((text, number, choice, several, table, when, maybe, rest)))]


class Meeting:
    """A place where two calls must be at once."""

    def __init__(self) -> None:
        self._barrier = threading.Barrier(2, timeout=10)

    def meet(self, name: str) -> str:
        """Wait for the other."""
        self._barrier.wait()
        return f"{name} was there"


class Waiting:
    """Functions that take as long as a test wants.

    Attributes:
        begun: set when one runs.
        may_end: to be set by the test.
        ended: set when one has.
        runs: how many have begun.
    """

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.ended = threading.Event()
        self.runs = 0

    def wait(self) -> str:
        """Wait in a thread."""
        self._begin()
        self.may_end.wait(30)
        self.ended.set()
        return "done"

    async def wait_in_loop(self) -> str:
        """Wait in an event loop."""
        self._begin()
        try:
            while not self.may_end.is_set():  # noqa: ASYNC110  # it is set in another thread
                await asyncio.sleep(0.01)
        finally:
            self.ended.set()
        return "done"

    def _begin(self) -> None:
        self.runs += 1
        self.begun.set()


class Speechless(Exception):
    """Cannot say what it is."""

    def __str__(self) -> str:
        raise ValueError("no words")


ERRORS: Final[Mapping[str, BaseException]] = {
    "stop": StopIteration(),
    "exit": SystemExit(3),
    "cancelled": asyncio.CancelledError(),
    "speechless": Speechless(),
    "half": LookupError("half a pair: \ud800"),
    "long": LookupError("x" * 20_000_000),
}


def fail(how: str) -> None:
    """Fail in one of several ways."""
    raise ERRORS[how]


async def fail_later(how: str) -> None:
    """The same in an event loop."""
    await asyncio.sleep(0)
    raise ERRORS[how]


async def wait_for_nobody() -> None:
    """Wait for a task that is cancelled."""
    task = asyncio.ensure_future(asyncio.sleep(60))
    task.cancel()
    await task


RESULTS: Final[Mapping[str, Any]] = {
    "half": "half a pair: \ud800",
    "long": "x" * (3 * 1024 * 1024),
    "longer": "x" * (17 * 1024 * 1024),
    "empty": [Text(text="")],
    "nothing": Text(text=None),  # type: ignore[arg-type]  # wrong on purpose
    "untyped": Blob(mime_type="png", data=b"x"),
    "foreign": Blob(mime_type="image/png", uri="file:///x"),
    "nan": {"x": float("nan")},
    "object": object(),
}


def give(what: str) -> Any:
    """Give what no model can be told."""
    return RESULTS[what]


async def give_later(what: str) -> Any:
    """The same in an event loop."""
    return RESULTS[what]


def timed(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that knows nothing of event loops."""

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        return function(*arguments, **options)

    return call


@timed
async def decorated(city: str) -> str:
    """Asynchronous, which nobody sees."""
    await asyncio.sleep(0)
    return f"{city} it is"


def passed_on(city: str) -> Coroutine[Any, Any, str]:
    """Gives what is to be awaited."""
    return decorated(city)  # type: ignore[no-any-return]  # what it decorates is not said
