"""The queue before admission: who is served next, who is refused, and what is left of callers that leave."""

from __future__ import annotations

import asyncio

import pytest

from mcp_server.admission import AdmitAll, TurnLimit
from mcp_server.errors import Overloaded
from mcp_server.interfaces import Permit, Work
from mcp_server.middleware.metrics.admission import AdmissionMetrics
from mcp_server.middleware.metrics.families import Families
from mcp_server.principal import ANONYMOUS, Principal

CHAT = Work(service="chat")


class Queue:
    """A limit of one turn, whose place is taken, and the calls that wait for it."""

    def __init__(self, *, max_waiting: int = 100, queue_timeout: float = 60.0) -> None:
        self.waits: list[float] = []
        self.limit = TurnLimit(
            1,
            AdmitAll(),
            max_waiting=max_waiting,
            queue_timeout=queue_timeout,
            waited=self.waits.append,
        )
        self.served: list[str] = []
        self.first: Permit | None = None

    async def start(self) -> None:
        self.first = await self.limit.admit(ANONYMOUS, CHAT)

    async def call(self, tenant: str, name: str, *, timeout: float | None = None) -> None:
        permit = await self.limit.admit(Principal(tenant=tenant), Work(service="chat", timeout=timeout))
        self.served.append(name)
        permit.release()

    async def join(self, tenant: str, *names: str) -> list[asyncio.Task[None]]:
        """Calls that wait now."""
        tasks = [asyncio.create_task(self.call(tenant, name)) for name in names]
        await asyncio.sleep(0)
        return tasks

    def release(self) -> None:
        assert self.first is not None
        self.first.release()


async def test_tenants_are_served_in_turn() -> None:
    """One with many calls does not delay another."""
    queue = Queue()
    await queue.start()
    tasks = await queue.join("flood", "f1", "f2", "f3", "f4")
    tasks += await queue.join("small", "s1")
    tasks += await queue.join("other", "o1", "o2")
    assert queue.limit.waiting == 7
    queue.release()
    await asyncio.gather(*tasks)
    assert queue.served == ["f1", "s1", "o1", "f2", "o2", "f3", "f4"]
    assert (queue.limit.waiting, len(queue.waits)) == (0, 7)


async def test_a_full_queue_has_a_share_for_each_tenant() -> None:
    """The last call of the tenant with most is refused instead, unless the tenant has as much itself."""
    queue = Queue(max_waiting=4)
    await queue.start()
    flood = await queue.join("flood", "f1", "f2", "f3", "f4", "f5")
    small = await queue.join("small", "s1", "s2", "s3")
    queue.release()
    ended = await asyncio.gather(*flood, *small, return_exceptions=True)
    assert queue.served == ["f1", "s1", "f2", "s2"]
    refused = [each.metadata for each in ended if isinstance(each, Overloaded)]
    assert refused == [{"limit": "max_waiting"}] * 4


async def test_a_call_waits_no_longer_than_its_own_timeout_or_the_configured_one() -> None:
    """Then it is refused."""
    for configured, own in ((0.01, None), (60.0, 0.01)):
        queue = Queue(queue_timeout=configured)
        await queue.start()
        with pytest.raises(Overloaded) as refused:
            await queue.call("a", "late", timeout=own)
        assert (queue.limit.waiting, refused.value.metadata) == (0, {"limit": "queue_timeout"})
        queue.release()
        await queue.call("a", "next")
        assert queue.served == ["next"]


async def test_a_caller_that_leaves_is_dropped() -> None:
    """Also at the moment at which its call is admitted: its place goes to the next one."""
    queue = Queue()
    await queue.start()
    early, at_once, last = await queue.join("a", "early", "at once", "last")
    early.cancel()
    await asyncio.wait([early])
    assert queue.limit.waiting == 2
    queue.release()
    at_once.cancel()
    await last
    assert (queue.served, early.cancelled(), at_once.cancelled()) == (["last"], True, True)
    await queue.call("a", "next")


async def test_callers_that_leave_together_with_a_refusal_are_dropped() -> None:
    """Nothing is left of them."""
    queue = Queue(max_waiting=2)
    await queue.start()
    flood = await queue.join("flood", "f1", "f2")
    refused = asyncio.create_task(queue.call("small", "s1"))
    await asyncio.sleep(0)  # now f2 is refused, and has not run since
    flood[1].cancel()
    queue.release()
    await asyncio.gather(flood[0], refused)
    assert (flood[1].cancelled(), queue.served, queue.limit.waiting) == (True, ["f1", "s1"], 0)


async def test_a_higher_limit_serves_those_that_wait() -> None:
    """At once when it changes: nobody has to come or go first."""
    queue = Queue()
    await queue.start()
    waiting = await queue.join("a", "a1")
    queue.limit.configure(2, max_waiting=100, queue_timeout=60)
    await asyncio.gather(*waiting)
    assert queue.served == ["a1"]


async def test_refused_callers_come_back_no_faster_than_places_become_free() -> None:
    """Each tenant's one after the other; at first and at most after a fixed time."""
    limit = TurnLimit(1, AdmitAll())
    loop = asyncio.get_running_loop()
    begin = loop.time()
    for _ in range(3):
        permit = await limit.admit(ANONYMOUS, CHAT)
        await asyncio.sleep(0.02)
        permit.release()
    interval = (loop.time() - begin) / 3
    await limit.admit(ANONYMOUS, CHAT)

    async def retry_after(tenant: str) -> float:
        with pytest.raises(Overloaded) as refused:
            await limit.admit(Principal(tenant=tenant), CHAT)
        assert refused.value.retry_after is not None
        return refused.value.retry_after

    flood = [await retry_after("flood") for _ in range(10)]
    assert flood[0] == 1
    assert flood == sorted(flood)
    assert 1 < flood[-1] <= 1 + 9 * interval
    assert await retry_after("small") == 1
    assert [await retry_after("flood") for _ in range(10_000)][-1] == 30
    assert [await retry_after(f"tenant {number}") for number in range(2000)] == [1] * 2000


async def test_the_queue_is_in_the_metrics() -> None:
    """How many wait, and how long they have waited."""
    families = Families()
    metrics = AdmissionMetrics(families)
    limit = TurnLimit(1, AdmitAll(), max_waiting=1, queue_timeout=60, waited=metrics.waited)
    metrics.watch(lambda: limit.waiting)

    def samples() -> dict[str, float]:
        return {
            sample.name + "".join(sample.labels.values()): sample.value
            for family in families.collect()
            for sample in family.samples
        }

    permit = await limit.admit(ANONYMOUS, CHAT)
    waiting = asyncio.create_task(limit.admit(ANONYMOUS, CHAT))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await limit.admit(ANONYMOUS, CHAT)
    assert samples()["contextprotocol_admission_queue_depth"] == 1
    permit.release()
    (await waiting).release()
    found = samples()
    assert found["contextprotocol_admission_queue_depth"] == 0
    assert found["contextprotocol_admission_queue_seconds_count"] == 1
