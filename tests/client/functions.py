"""Functions that the tests let models call."""

from __future__ import annotations

import asyncio
import enum
import threading
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

from mcp_client import Text


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
