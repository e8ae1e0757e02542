"""Compares the usage of each tenant with its turns, its limits and the books of the provider."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from mcp_client import Attempt, MCPClient, Turn, UsageRow
from tests.soak.tenants.clients import Notes, ended_turns
from tests.soak.tenants.provider import Provider
from tests.soak.tenants.tenants import Tenant
from tests.upstream.books import Call


class Sum(NamedTuple):
    """What was used."""

    attempts: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal = Decimal(0)

    def plus(self, other: Sum) -> Sum:
        """Both."""
        return Sum(
            self.attempts + other.attempts,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cost + other.cost,
        )

    @classmethod
    def of_attempts(cls, attempts: Iterable[Attempt]) -> Sum:
        """That of calls to providers."""
        total = cls()
        for one in attempts:
            total = total.plus(cls(1, one.usage.input_tokens, one.usage.output_tokens, one.cost))
        return total

    @classmethod
    def of_rows(cls, rows: Iterable[UsageRow]) -> Sum:
        """That of rows of the ledger."""
        total = cls()
        for one in rows:
            total = total.plus(cls(one.attempts, one.usage.input_tokens, one.usage.output_tokens, one.cost))
        return total


@dataclass(slots=True)
class Balance:
    """What the comparison came to.

    Attributes:
        turns: that were compared one by one.
        attempts: of them.
        calls: that the provider got from all tenants.
        met: the turns of them that a kill may have met, whose calls are not compared.
        exact: the attempts whose tokens are those that the provider reported.
        problems: where the books differ.
    """

    turns: int = 0
    attempts: int = 0
    calls: int = 0
    met: int = 0
    exact: int = 0
    problems: list[str] = field(default_factory=list)

    async def check(
        self, client: MCPClient, tenant: Tenant, operator: MCPClient, notes: Notes, provider: Provider
    ) -> None:
        """Compare all books of one tenant.

        Args:
            client: of the tenant.
            tenant: it.
            operator: sees the usage of all tenants.
            notes: what the clients have seen.
            provider: its books.
        """
        turns = dict(notes.turns)
        async for session in client.list_sessions(page_size=1000):
            turns[session.name] = await ended_turns(client, session.name)
        turns = {name: all for name, all in turns.items() if name.startswith(f"sessions/{tenant.name}-")}
        rows = [row async for row in client.query_usage(group_by=["key", "session"], page_size=1000)]
        seen = [
            row async for row in operator.query_usage(tenant=tenant.name, group_by=["key", "session"], page_size=1000)
        ]
        if Sum.of_rows(rows) != Sum.of_rows(seen) or len(rows) != len(seen):
            self.problems.append(f"{tenant.name}: its usage is not the one that the operator sees")
        self._compare_turns(tenant, turns, rows, notes, provider)
        calls = {name: all for name, all in provider.calls().items() if name.startswith(f"{tenant.name}-")}
        self.calls += sum(map(len, calls.values()))
        for turn in (turn for all in turns.values() for turn in all):
            self._compare_calls(turn, calls.get(turn.request_id, []), touched=turn.request_id in provider.touched)
        self._compare_embeddings(tenant, rows, calls, notes)
        await self._compare_limits(client, tenant, rows)

    def _compare_turns(
        self,
        tenant: Tenant,
        turns: Mapping[str, Sequence[Turn]],
        rows: Sequence[UsageRow],
        notes: Notes,
        provider: Provider,
    ) -> None:
        """The ledger has the sums of the attempts of all turns, by key and session, to the token and the nano."""
        expected: dict[tuple[str, str], list[Attempt]] = defaultdict(list)
        for session, all in turns.items():
            for turn in all:
                expected[f"keys/{notes.keys[turn.request_id]}", session] += turn.attempts
                self.turns += 1
                self.attempts += len(turn.attempts)
        booked: dict[tuple[str, str], list[UsageRow]] = defaultdict(list)
        for row in rows:
            booked[row.group["key"], row.group["session"]].append(row)
        for group in {*expected, *[group for group in booked if group[1]]}:
            sums = Sum.of_attempts(expected[group]), Sum.of_rows(booked[group])
            if group[1] in notes.dropped:
                self._compare_dropped(group[1], sums[0], sums[1], notes, provider)
            elif sums[0] != sums[1]:
                self.problems.append(f"{tenant.name} {group}: turns {tuple(sums[0])}, ledger {tuple(sums[1])}")

    def _compare_dropped(self, session: str, before: Sum, booked: Sum, notes: Notes, provider: Provider) -> None:
        """Of a turn that ended with its session only the ledger and the provider know."""
        request_id = notes.dropped[session]
        most = before.attempts + len(provider.calls().get(request_id, []))
        least = before.attempts if request_id in provider.touched else most
        if not least <= booked.attempts <= most or booked.input_tokens < before.input_tokens:
            self.problems.append(f"{session}: {tuple(before)} and one turn more, ledger {tuple(booked)}, {most} calls")

    def _compare_calls(self, turn: Turn, calls: Sequence[Call], *, touched: bool) -> None:
        """Each call of the provider is one attempt, and its tokens are those that the provider reported.

        An attempt that was cancelled, interrupted or not answered may have ended before its request arrived. Of a turn
        whose process was killed, the last calls may be missing: they were not written down.
        """
        reported = Counter(_tokens(call) for call in calls if call.reported is not None)
        for attempt in turn.attempts:
            tokens = attempt.usage.input_tokens, attempt.usage.output_tokens
            if attempt.outcome == "succeeded":
                self.exact += 1
                if not reported[tokens] or attempt.usage.estimated:
                    self.problems.append(f"{turn.name}: {tokens} tokens, the provider reported {dict(reported)}")
                reported[tokens] -= 1
        if touched:
            self.met += 1
            return
        unanswered = sum(
            attempt.outcome in ("cancelled", "interrupted")
            or attempt.reason in ("PROVIDER_UNAVAILABLE", "PROVIDER_TIMEOUT")
            for attempt in turn.attempts
        )
        if not len(turn.attempts) - unanswered <= len(calls) <= len(turn.attempts):
            outcomes = [(attempt.outcome, attempt.reason) for attempt in turn.attempts]
            self.problems.append(f"{turn.name}: {len(calls)} calls of the provider, attempts {outcomes}")

    def _compare_embeddings(
        self, tenant: Tenant, rows: Sequence[UsageRow], calls: Mapping[str, Sequence[Call]], notes: Notes
    ) -> None:
        """The same for embeddings, which belong to no session and are not kept, by key."""
        for key in tenant.keys:
            booked = Sum.of_rows(row for row in rows if row.group == {"key": f"keys/{key.id}", "session": ""})
            answered = Sum.of_attempts(notes.embedded.get(key.id, []))
            made = {
                id: all for id, all in calls.items() if notes.keys[id] == key.id and all[0].path.endswith("embeddings")
            }
            unsure = {id for id, all in made.items() if len(all) != 1 or id in notes.lost}
            most = sum(map(len, made.values()))
            if not answered.attempts <= booked.attempts <= most or (not unsure and booked != answered):
                self.problems.append(
                    f"{tenant.name}: embeddings answered {tuple(answered)}, ledger {tuple(booked)}, {most} calls"
                )

    async def _compare_limits(self, client: MCPClient, tenant: Tenant, rows: Sequence[UsageRow]) -> None:
        """Nothing is held, and what counts for the limits is what is in the ledger."""
        caller = await client.whoami()
        used = {limit.limit: limit.used for limit in caller.limits if limit.subject == f"tenants/{tenant.name}"}
        total = Sum.of_rows(rows)
        expected = {"concurrent_turns": 0, "tokens_per_month": total.input_tokens + total.output_tokens}
        if used != expected:
            self.problems.append(f"{tenant.name}: used and held {used}, expected {expected}")


def _tokens(call: Call) -> tuple[int, int]:
    usage = call.reported or {}
    return usage["prompt_tokens"], usage.get("completion_tokens", 0)
