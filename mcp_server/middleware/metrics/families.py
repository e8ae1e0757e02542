"""Counters, gauges and histograms that one thread writes and another one reads.

Each time series changes on one thread only, nearly always that of the event loop, so that a change needs no lock and
costs a fraction of that of ``prometheus_client``'s own. A scrape reads them on a thread of its own.
"""

from __future__ import annotations

import functools
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Generic, Protocol, TypeVar

from prometheus_client import Metric
from prometheus_client.utils import floatToGoString

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
"""The upper bounds of the buckets of histograms that have none of their own, in seconds."""

_Sample = tuple[str, Mapping[str, str], float]
"""The suffix of its name, further labels, and its value."""


class Counter:
    """One time series that only grows.

    Attributes:
        value: as it is now.
        compute: called at each scrape instead, on another thread, if it is set.
    """

    __slots__ = ("_created", "compute", "value")

    def __init__(self) -> None:
        self.value = 0.0
        self.compute: Callable[[], float] | None = None
        self._created = time.time()

    def samples(self) -> Iterator[_Sample]:
        yield "_total", {}, self.value if self.compute is None else self.compute()
        yield "_created", {}, self._created


class Gauge:
    """One time series that grows and shrinks.

    Attributes:
        value: as it is now.
        compute: called at each scrape instead, on another thread, if it is set.
    """

    __slots__ = ("compute", "value")

    def __init__(self) -> None:
        self.value = 0.0
        self.compute: Callable[[], float] | None = None

    def samples(self) -> Iterator[_Sample]:
        yield "", {}, self.value if self.compute is None else self.compute()


class Histogram:
    """One time series of durations in seconds, or of other amounts.

    Args:
        buckets: the upper bounds of its buckets, ascending.
    """

    __slots__ = ("_buckets", "_counts", "_created", "_sum")

    def __init__(self, buckets: Sequence[float] = BUCKETS) -> None:
        self._buckets = buckets
        self._counts = [0] * (len(buckets) + 1)
        self._sum = 0.0
        self._created = time.time()

    def observe(self, amount: float) -> None:
        """Add one duration, or other amount."""
        self._counts[bisect_left(self._buckets, amount)] += 1
        self._sum += amount

    def samples(self) -> Iterator[_Sample]:
        total = 0
        for bound, count in zip((*self._buckets, float("inf")), tuple(self._counts), strict=True):
            total += count
            yield "_bucket", {"le": _text(bound)}, total
        yield "_count", {}, total
        yield "_sum", {}, self._sum
        yield "_created", {}, self._created


@functools.cache
def _text(bound: float) -> str:
    text: str = floatToGoString(bound)  # type: ignore[no-untyped-call]  # the library has no types for it
    return text


class _Series(Protocol):
    def samples(self) -> Iterator[_Sample]: ...


_SeriesT = TypeVar("_SeriesT", bound=_Series)


class Family(Generic[_SeriesT]):
    """A metric: all time series of one name.

    Attributes:
        name: without the suffix that Prometheus adds.
        help: what it measures, for the page and the documentation.
        labels: the names of its labels.
        kind: ``counter``, ``gauge`` or ``histogram``.
    """

    def __init__(self, new: Callable[[], _SeriesT], kind: str, name: str, help: str, labels: Sequence[str]) -> None:
        self.name = name
        self.help = help
        self.labels = tuple(labels)
        self.kind = kind
        self._new = new
        self._series: dict[tuple[str, ...], _SeriesT] = {}

    def with_labels(self, *values: str) -> _SeriesT:
        """The time series with these values of the labels; keep it where it is used for every call."""
        series = self._series.get(values)
        if series is None:
            series = self._series[values] = self._new()
        return series

    def collect(self) -> Metric:
        """All time series, for a scrape."""
        metric = Metric(self.name, self.help, self.kind)
        for values, series in self._series.copy().items():  # a copy, since the event loop may add to it meanwhile
            labels = dict(zip(self.labels, values, strict=True))
            for suffix, further, value in series.samples():
                metric.add_sample(self.name + suffix, {**labels, **further}, value)
        return metric


class Families:
    """Creates the metrics of the server, and collects them for a scrape."""

    def __init__(self) -> None:
        self._families: list[Family[Counter] | Family[Gauge] | Family[Histogram]] = []

    def counter(self, name: str, help: str, *labels: str) -> Family[Counter]:
        """Create a counter; Prometheus adds ``_total`` to its name."""
        family = Family(Counter, "counter", name, help, labels)
        self._families.append(family)
        return family

    def gauge(self, name: str, help: str, *labels: str) -> Family[Gauge]:
        """Create a gauge."""
        family = Family(Gauge, "gauge", name, help, labels)
        self._families.append(family)
        return family

    def histogram(self, name: str, help: str, *labels: str, buckets: Sequence[float] = BUCKETS) -> Family[Histogram]:
        """Create a histogram, by default of durations in seconds."""
        family = Family(functools.partial(Histogram, buckets), "histogram", name, help, labels)
        self._families.append(family)
        return family

    def __iter__(self) -> Iterator[Family[Counter] | Family[Gauge] | Family[Histogram]]:
        """All of them, in the order of their creation."""
        return iter(self._families)

    def collect(self) -> Iterator[Metric]:
        """What a scrape reads."""
        for family in self._families:
            yield family.collect()
