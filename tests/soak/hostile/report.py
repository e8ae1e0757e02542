"""What a run came to, and what of it was not as promised."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.soak.hostile.attackers import BAD
from tests.soak.hostile.clients import Exchange
from tests.soak.hostile.outages import ANSWER, Outages
from tests.soak.hostile.process import Vitals
from tests.soak.hostile.server import FAILED

MIB: Final = 1 << 20
EXPECTED: Final = frozenset(
    [
        "clock has jumped forward",
        "end of turn not stored",
        "store cannot write",
        "sweep failed",
        "turn DRAINING",
        "turn not journalled",
        "turn STORE_UNAVAILABLE",
        "turns interrupted by the last stop",
        "write-ahead log deleted; its changes are saved",
    ]
)
"""Lines of the server's log, from the level ``warning`` on, that belong to the disturbances."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was seen."""

    exchanges: Sequence[Exchange]
    """Of the canary."""
    turns: int
    """Of all other clients that are to be served."""
    outages: Outages
    starts: Sequence[float]
    """How long each start of the server took, in seconds."""
    attacks: Mapping[str, int]
    """How often each was made."""
    outcomes: Mapping[str, Counter[str]]
    """Of the calls of attackers, by attack."""
    disturbances: Mapping[str, int]
    """How often each happened."""
    vitals: Vitals
    """Of the server."""
    configured: int
    """What the settings of the server allow its callers to hold of it, in bytes."""
    log: Path
    """What the server wrote to its log."""
    problems: Sequence[str]
    """What was wrong, beside what follows from the rest."""

    @property
    def violations(self) -> list[str]:
        """What was not as promised."""
        late = [
            f"the canary waited {one.end - one.begin:.2f} s for {one.turn}{self._after(one)}"
            for one in self.exchanges
            if one.end - self.vitals.waited(one.begin, one.end) > self.outages.deadline(one.begin)
        ]
        bad = [
            f"{attack}: {count:,} calls ended {outcome}"
            for attack, outcomes in self.outcomes.items()
            for outcome, count in outcomes.items()
            if outcome in BAD
        ]
        found = [*self.problems, *late, *bad]
        if self.vitals.highest > self.limit:
            found.append(f"memory: {self.vitals.highest // MIB:,} MiB of {self.limit // MIB:,}")
        found += [f"log of the server: {line}, {count:,} times" for line, count in self._logged().items()]
        return found

    @property
    def limit(self) -> int:
        """What the server may take at most, in bytes."""
        return 2 * self.vitals.idle + self.configured

    def rows(self) -> Iterator[tuple[str, str, bool]]:
        """What was looked at, what was seen, and whether that is good."""
        calm = [one for one in self.exchanges if not self.outages.met(one.begin, one.end)]
        yield "turns of the canary: right, in order, once", f"{len(self.exchanges):,}", bool(self.exchanges)
        yield "turns of other clients: kept as they were acknowledged", f"{self.turns:,}", self.turns > 0
        net = [max(0.0, one.end - one.begin - self.vitals.waited(one.begin, one.end)) for one in calm]
        yield (
            "latency of the canary outside of outages, ms: p50 p99 max",
            _shares(one.end - one.begin for one in calm),
            True,
        )
        yield "the same without waiting for a processor", _shares(net), max(net, default=0) <= ANSWER
        for cause, (longest, count) in self._longest().items():
            yield f"{cause}: turns of the canary in it, longest in seconds", f"{count:,} {longest:.1f}", True
        starts = sorted(self.starts)
        yield "starts of the server, longest in seconds", f"{len(starts):,} {starts[-1]:.1f}", True
        for name, number in sorted(self.disturbances.items()):
            yield f"disturbance: {name}", f"{number:,}", True
        for name, number in sorted(self.attacks.items()):
            outcomes = ", ".join(f"{outcome} {count:,}" for outcome, count in self.outcomes[name].most_common(6))
            yield f"attack: {name}, calls", f"{number:,}: {outcomes}", True
        sizes = (self.vitals.idle, self.vitals.highest, self.limit)
        memory = " ".join(f"{size // MIB:,}" for size in sizes)
        yield "memory, MiB: idle, highest, limit", memory, self.vitals.highest <= self.limit
        yield "violations", f"{len(self.violations):,}", not self.violations

    def _longest(self) -> dict[str, tuple[float, int]]:
        """For each cause of outages, the longest turn of the canary that met it, and the number of such turns."""
        longest: dict[str, tuple[float, int]] = {}
        for one in self.exchanges:
            for cause in {outage.cause for outage in self.outages.met(one.begin, one.end)}:
                seconds, count = longest.get(cause, (0.0, 0))
                longest[cause] = (max(seconds, one.end - one.begin), count + 1)
        return longest

    def _after(self, one: Exchange) -> str:
        causes = {outage.cause for outage in self.outages.met(one.begin, one.end)}
        return f", with {' and '.join(sorted(causes))}" if causes else ""

    def _logged(self) -> Counter[str]:
        """Lines of the log that nobody expects; why a start failed is judged elsewhere."""
        lines: Counter[str] = Counter()
        for line in self.log.read_text(errors="replace").splitlines():
            facts = json.loads(line) if line.startswith("{") else {"event": line}
            event = " ".join(filter(None, (facts["event"], facts.get("reason"))))
            # A line that says how many were left out comes after the first of them.
            if event not in EXPECTED and not event.startswith(FAILED) and "suppressed" not in facts:
                lines[event] += 1
        return lines


def _shares(latencies: Iterable[float]) -> str:
    """The median, the 99th percentile and the maximum, in milliseconds."""
    ordered = sorted(latencies) or [0.0]
    return " ".join(f"{ordered[int((len(ordered) - 1) * share)] * 1000:.0f}" for share in (0.5, 0.99, 1))
