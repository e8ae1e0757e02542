"""Circuit breakers: they stop calls to a model that keeps failing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

CallKind = Literal["chat", "completion", "embedding"]
"""What a model is called for. One may work while another does not."""
Monotonic = Callable[[], float]
"""A monotonic clock, in seconds."""


class Circuit:
    """The circuit breaker of one model for one kind of call.

    It is *closed* while the model answers. Consecutive failures *open* it: the model is not called. After a time it is
    *half-open*: one call of a caller is let through as a probe, which closes it or opens it again. It never makes a
    call of its own.

    Args:
        failures: how many consecutive failures open it.
        open_seconds: how long it stays open.
        clock: tells the time.
    """

    def __init__(self, *, failures: int, open_seconds: float, clock: Monotonic = time.monotonic) -> None:
        self._limit = failures
        self._open_seconds = open_seconds
        self._clock = clock
        self._failures = 0
        self._suspects: set[int] = set()
        """The requests whose failures were counted although they may have caused them."""
        self._opened: float | None = None
        self._probing = False
        self._rate_limited_until = 0.0

    @property
    def wait(self) -> float:
        """Seconds until it lets a call through; 0: it does now."""
        if self._opened is None:
            return 0.0
        left = self._opened + self._open_seconds - self._clock()
        # While a probe runs nobody knows how long that takes.
        return max(left, 1.0) if self._probing else max(left, 0.0)

    @property
    def rate_limited(self) -> float:
        """Seconds for which the model's provider has asked for fewer calls: another model is better asked first."""
        return max(self._rate_limited_until - self._clock(), 0.0)

    @property
    def clear(self) -> bool:
        """Whether it is closed and no fewer calls were ever asked for: the usual case, known without a clock."""
        return self._opened is None and not self._rate_limited_until

    @property
    def problem(self) -> str:
        """Why no call is let through and when that changes, for people to read; empty if calls are let through."""
        wait = self.wait
        if wait <= 0:
            return ""
        return f"circuit breaker open after {self._failures} consecutive failures; next attempt in {wait:.0f} s"

    def begin(self) -> bool:
        """Begin a call, allowed only while :attr:`wait` is 0; return whether it is the probe."""
        self._probing = self._opened is not None
        return self._probing

    def answering(self, *, probe: bool) -> None:
        """The model has begun to answer. After a probe others may come, and one more failure opens it again."""
        if probe:
            self._opened = None
            self._probing = False
            self._failures = self._limit - 1

    def succeeded(self) -> None:
        """The model did what it should, a justified refusal included."""
        self._opened = None
        self._probing = False
        self._failures = 0
        self._suspects.clear()

    def failed(self, *, probe: bool, suspect: int | None = None) -> None:
        """The model failed.

        Args:
            probe: whether that call was the probe.
            suspect: a hash of what was asked, if that may be the cause. However often it fails, it counts once: one
                conversation that a server cannot bear does not open the circuit breaker for all others.
        """
        if suspect is None or suspect not in self._suspects:
            if suspect is not None and self._failures < self._limit:
                self._suspects.add(suspect)
            self._failures += 1
        # A call that had begun before the others failed does not make them wait longer.
        if self._failures >= self._limit and (self._opened is None or probe):
            self._opened = self._clock()
        self.abandoned(probe=probe)

    def limit_rate(self, seconds: float, *, probe: bool) -> None:
        """The provider asked for fewer calls for so many seconds. It is not down."""
        self._rate_limited_until = self._clock() + seconds
        self.abandoned(probe=probe)

    def abandoned(self, *, probe: bool) -> None:
        """The call ended without telling anything about the model."""
        if probe:
            self._probing = False


class Circuits:
    """The circuit breakers of one model.

    Args:
        failures: how many consecutive failures open one.
        open_seconds: how long it stays open.
    """

    def __init__(self, *, failures: int, open_seconds: float) -> None:
        self._failures = failures
        self._open_seconds = open_seconds
        self._by_kind: dict[CallKind, Circuit] = {}

    def of(self, kind: CallKind) -> Circuit:
        """The one for that kind of call."""
        circuit = self._by_kind.get(kind)
        if circuit is None:
            circuit = self._by_kind[kind] = Circuit(failures=self._failures, open_seconds=self._open_seconds)
        return circuit

    @property
    def open(self) -> int:
        """How many are open."""
        return sum(circuit.wait > 0 for circuit in tuple(self._by_kind.values()))  # from other threads too

    @property
    def closed(self) -> bool:
        """Whether calls of some kind are let through."""
        return not self._by_kind or self.open < len(self._by_kind)

    @property
    def problem(self) -> str:
        """Which kinds of calls are not let through, why, and when that changes, for people to read; else empty."""
        problems = {kind: circuit.problem for kind, circuit in self._by_kind.items()}
        return "; ".join([f"{kind}: {problem}" for kind, problem in problems.items() if problem])
