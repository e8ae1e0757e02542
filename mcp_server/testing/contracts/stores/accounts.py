"""The contract of a store that keeps API keys, the usage ledger, and what is held and used of limits."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from mcp_server.errors import StoreUnavailable
from mcp_server.interfaces import Account, AccountQuery, AccountStore, Change, LookUp, RateUse, Stored, UsageQuery
from mcp_server.testing.contracts.stores.values import NOW, append, delete, fork, put, rewind, session, turn
from mcp_server.values import DAY, HOUR, Hold, Key, Usage, UsageEntry, UsageSource, UsageSum

replace = msgspec.structs.replace

TODAY = NOW - NOW % DAY


def key(id: str = "k1", *, tenant: str = "t", create_time: int = NOW) -> Key:
    """An API key."""
    return Key(
        id=id, tenant=tenant, secret_hash=b"hash", create_time=create_time, update_time=create_time, scopes=("chat",)
    )


def hold(id: str = "h1", *, key: str = "", tokens: int = 100, cost_nanos: int = 0, tenant: str = "t") -> Hold:
    """A hold that is void after an hour."""
    return Hold(
        id=id, tenant=tenant, key=key, tokens=tokens, cost_nanos=cost_nanos, currency="USD", expire_time=NOW + HOUR
    )


def entry(
    time: int = TODAY,
    *,
    tokens: int = 10,
    cost_nanos: int = 5,
    currency: str = "USD",
    source: UsageSource = UsageSource.REPORTED,
    **fields: object,
) -> UsageEntry:
    """What one turn used: some tokens of the prompt, and as many of the answer."""
    usage = Usage(input_tokens=tokens, output_tokens=tokens, source=source)
    made = UsageEntry(tenant="t", time=time, turns=1, attempts=2, usage=usage, cost_nanos=cost_nanos, currency=currency)
    return replace(made, **fields)


async def write(store: AccountStore, change: Change, *, tenant: str = "t") -> None:
    """Carry out a change of no session."""
    await store.change(tenant, "", lambda _: change)


async def read(store: AccountStore, query: AccountQuery, *, tenant: str = "t") -> Account:
    """What an account has used and holds."""
    changed = await store.change(tenant, "", lambda _: Change(), LookUp(accounts=(query,)))
    (account,) = changed.stored.accounts
    return account


async def sums(store: AccountStore, *group_by: str, **fields: object) -> list[tuple[object, ...]]:
    """The groups of the ledger, each with its currency, its turns and the tokens of its prompts."""
    query = replace(UsageQuery(limit=100, tenant="t", group_by=group_by), **fields)
    return [(*each.group, each.currency, each.turns, each.usage.input_tokens) for each in await store.usage(query)]


class AccountContract:
    """What a server expects of a store that keeps accounts."""

    # -- keys ---------------------------------------------------------------------------------------------------------

    async def test_a_key_is_read_as_it_was_written(self, store: AccountStore) -> None:
        """By its id, whatever its tenant."""
        assert await store.key("k1") is None
        assert await store.change_key("k1", lambda _: key()) == key()
        assert await store.key("k1") == key()

    async def test_a_key_is_changed_in_one_step(self, store: AccountStore) -> None:
        """The decision sees the stored key; none of many at once is lost."""
        await store.change_key("k1", lambda _: key())

        def count(found: Key | None) -> Key:
            assert found is not None
            return replace(found, display_name=f"{found.display_name}x")

        await asyncio.gather(*[store.change_key("k1", count) for _ in range(20)])
        found = await store.key("k1")
        assert found is not None
        assert found.display_name == "x" * 20

    async def test_a_refused_change_writes_no_key(self, store: AccountStore) -> None:
        """An error of the decision reaches the caller."""

        def refuse(_: Key | None) -> Key:
            raise LookupError

        with pytest.raises(LookupError):
            await store.change_key("k1", refuse)
        assert await store.key("k1") is None

    async def test_keys_are_listed_by_age(self, store: AccountStore) -> None:
        """Only those of the tenant, page by page."""
        for made in (key("b"), key("a"), key("c", create_time=NOW - 1), key("d", tenant="u")):
            await store.change_key(made.id, lambda _, made=made: made)  # type: ignore[misc]
        assert [each.id for each in await store.keys("t", 10, None)] == ["c", "a", "b"]
        assert [each.id for each in await store.keys("t", 1, None)] == ["c"]
        assert [each.id for each in await store.keys("t", 10, (NOW, "a"))] == ["b"]
        assert [each.id for each in await store.keys("nobody", 10, None)] == []

    async def test_a_secret_is_made_once(self, store: AccountStore) -> None:
        """Every later call returns the same bytes; each name has its own."""
        first, again, other = [await store.secret(name) for name in ("pages", "pages", "other")]
        assert first == again != other
        assert len(first) == 32

    # -- holds --------------------------------------------------------------------------------------------------------

    async def test_holds_are_summed_up(self, store: AccountStore) -> None:
        """For the tenant and for each key; costs only in the currency asked for."""
        for made in (hold("a", cost_nanos=7), hold("b", key="k1", tokens=5, cost_nanos=1), hold("c", tenant="u")):
            await write(store, Change(hold=made), tenant=made.tenant)
        await write(store, Change(hold=replace(hold("d", tokens=1, cost_nanos=9), currency="EUR")))
        account = await read(store, AccountQuery(now=NOW, currency="USD"))
        assert (account.holds, account.held_tokens, account.held_cost_nanos) == (3, 106, 8)
        account = await read(store, AccountQuery(key="k1", now=NOW, currency="USD"))
        assert (account.holds, account.held_tokens, account.held_cost_nanos) == (1, 5, 1)

    async def test_a_hold_is_released(self, store: AccountStore) -> None:
        """Once; a hold that is not there changes nothing."""
        await write(store, Change(hold=hold("a")))
        await write(store, Change(hold=hold("a", tokens=3)))
        assert (await read(store, AccountQuery(now=NOW))).held_tokens == 3
        for _ in range(2):
            await write(store, Change(release="a"))
            assert (await read(store, AccountQuery(now=NOW))).holds == 0

    async def test_a_void_hold_does_not_count(self, store: AccountStore) -> None:
        """After its time."""
        await write(store, Change(hold=hold()))
        assert (await read(store, AccountQuery(now=NOW + HOUR - 1))).holds == 1
        assert (await read(store, AccountQuery(now=NOW + HOUR))).holds == 0

    async def test_a_failed_change_holds_and_books_nothing(self, store: AccountStore) -> None:
        """Everything of one change is written, or nothing."""
        with pytest.raises(ValueError, match="tenant"):
            await write(store, Change(hold=hold(), book=(entry(), entry(tenant="u"))))
        with pytest.raises(ValueError, match="tenant"):
            await write(store, Change(turn=turn(), hold=hold(tenant="u")))
        assert await read(store, AccountQuery(now=NOW, since=(0,))) == Account(tokens=(0,), cost_nanos=(0,))
        assert await store.turn("t", "turn") is None

    # -- rates --------------------------------------------------------------------------------------------------------

    async def test_a_rate_is_used_up(self, store: AccountStore) -> None:
        """From the present time on, or from where an earlier use ended; a correction starts at no time."""

        async def used(key: str = "") -> tuple[int, ...]:
            return (await read(store, AccountQuery(key=key, rates=("requests", "tokens")))).rates

        assert await used() == (0, 0)
        await write(store, Change(rates=(RateUse(name="requests", floor=100, advance=10),)))
        assert await used() == (110, 0)
        await write(store, Change(rates=(RateUse(name="requests", floor=105, advance=10),)))
        assert await used() == (120, 0)
        await write(store, Change(rates=(RateUse(name="requests", floor=200, advance=10),)))
        await write(store, Change(rates=(RateUse(name="requests", advance=-5),)))
        assert await used() == (205, 0)
        assert await used("k1") == (0, 0)
        await write(store, Change(rates=(RateUse(name="tokens", key="k1", floor=7, advance=1),)))
        assert await used("k1") == (0, 8)

    # -- usage --------------------------------------------------------------------------------------------------------

    async def test_usage_counts_towards_its_tenant_and_its_key(self, store: AccountStore) -> None:
        """In all periods that have begun before; costs only in the currency asked for."""
        for made in (
            entry(TODAY + 1, key="k1", tokens=1, cost_nanos=2),
            entry(TODAY + HOUR, tokens=10, cost_nanos=20),
            entry(TODAY + 2 * HOUR, key="k2", tokens=100, cost_nanos=200, currency="EUR"),
        ):
            await write(store, Change(book=(made,)))
        since = TODAY, TODAY + HOUR, TODAY + 3 * HOUR
        account = await read(store, AccountQuery(since=since, currency="USD"))
        assert (account.tokens, account.cost_nanos) == ((222, 220, 0), (22, 20, 0))
        account = await read(store, AccountQuery(key="k1", since=since, currency="USD"))
        assert (account.tokens, account.cost_nanos) == ((2, 0, 0), (2, 0, 0))
        assert await read(store, AccountQuery(since=since), tenant="u") == Account(
            tokens=(0, 0, 0), cost_nanos=(0, 0, 0)
        )

    async def test_the_ledger_adds_up_all_numbers(self, store: AccountStore) -> None:
        """Entries of one hour become one; the source is REPORTED only if all of it was reported."""
        usage = Usage(
            input_tokens=1,
            cached_input_tokens=2,
            cache_write_tokens=3,
            output_tokens=4,
            reasoning_tokens=5,
            source=UsageSource.REPORTED,
        )
        made = entry(usage=usage, cost_nanos=6)
        await write(store, Change(book=(made, replace(made, time=TODAY + 1))))
        (total,) = await store.usage(UsageQuery(limit=10, tenant="t"))
        doubled = {name: 2 * getattr(usage, name) for name in usage.__struct_fields__ if name != "source"}
        assert total == UsageSum(
            group=(), turns=2, attempts=4, usage=replace(usage, **doubled), cost_nanos=12, currency="USD"
        )
        await write(store, Change(book=(entry(source=UsageSource.ESTIMATED),)))
        (total,) = await store.usage(UsageQuery(limit=10, tenant="t"))
        assert total.usage.source is UsageSource.ESTIMATED

    async def test_usage_is_grouped(self, store: AccountStore) -> None:
        """By every item, by labels, by hours and days, and always by currency."""
        hour, day = str(TODAY), str(TODAY - DAY)
        labels = {"team": "a", "app.kind": "x"}
        entries = (
            entry(TODAY + 5, key="k1", provider="p", model="m", session="s", labels=labels),
            entry(TODAY - DAY + 2 * HOUR, key="k1", provider="p", model="n", currency="EUR"),
            entry(TODAY + 7, key="k2", provider="q", model="m", labels={"team": "b"}),
        )
        await write(store, Change(book=entries))
        assert await sums(store) == [("EUR", 1, 10), ("USD", 2, 20)]
        assert await sums(store, "key") == [("k1", "EUR", 1, 10), ("k1", "USD", 1, 10), ("k2", "USD", 1, 10)]
        assert await sums(store, "model", "provider") == [
            ("m", "p", "USD", 1, 10),
            ("m", "q", "USD", 1, 10),
            ("n", "p", "EUR", 1, 10),
        ]
        assert await sums(store, "session") == [("", "EUR", 1, 10), ("", "USD", 1, 10), ("s", "USD", 1, 10)]
        assert await sums(store, "day") == [(day, "EUR", 1, 10), (hour, "USD", 2, 20)]
        assert await sums(store, "hour", "tenant") == [
            (str(TODAY - DAY + 2 * HOUR), "t", "EUR", 1, 10),
            (hour, "t", "USD", 2, 20),
        ]
        assert await sums(store, "label:team") == [("", "EUR", 1, 10), ("a", "USD", 1, 10), ("b", "USD", 1, 10)]
        assert await sums(store, "label:app.kind") == [("", "EUR", 1, 10), ("", "USD", 1, 10), ("x", "USD", 1, 10)]

    async def test_usage_is_filtered_and_paged(self, store: AccountStore) -> None:
        """By every field, by the period, and page by page after the last sum of the page before."""
        entries = [entry(TODAY + hour * HOUR, key=f"k{hour}", labels={"n": str(hour % 2)}) for hour in range(4)]
        await write(store, Change(book=tuple(entries)))
        await write(store, Change(book=(entry(tenant="u", provider="p", model="m", session="s"),)), tenant="u")
        assert await sums(store, key="k2") == [("USD", 1, 10)]
        assert await sums(store, "key", labels={"n": "1"}) == [("k1", "USD", 1, 10), ("k3", "USD", 1, 10)]
        assert await sums(store, start=TODAY + HOUR, end=TODAY + 3 * HOUR) == [("USD", 2, 20)]
        assert await sums(store, "tenant", tenant=None) == [("t", "USD", 4, 40), ("u", "USD", 1, 10)]
        for field, value in (("provider", "p"), ("model", "m"), ("session", "s")):
            assert await sums(store, tenant=None, **{field: value}) == [("USD", 1, 10)]
            assert await sums(store, **{field: value}) == []
        assert await sums(store, "key", after=("k1", "USD"), limit=1) == [("k2", "USD", 1, 10)]
        assert await sums(store, "key", after=("k3", "USD")) == []

    # -- sessions -----------------------------------------------------------------------------------------------------

    async def test_sessions_and_their_bytes_are_counted(self, store: AccountStore) -> None:
        """For the tenant and for the key that created them; messages that a fork shares count once."""

        async def stored(key: str = "") -> tuple[int, int]:
            account = await read(store, AccountQuery(key=key, stored=True))
            return account.sessions, account.stored_bytes

        async def check(sessions: int, size: int, key: str = "") -> None:
            found = await stored(key)
            assert found[0] == sessions
            assert found[1] == pytest.approx(size, abs=500)

        assert await stored() == (0, 0)
        await put(store, session("a", key="k1"))
        await put(store, session("b", metadata={"x": "y" * 1000}))
        sessions, empty = await stored()
        assert sessions == 2
        assert 1000 < empty < 1500
        await append(store, "a", "x" * 5000, "y" * 5000)
        sessions, filled = await stored()
        assert 10_000 <= filled - empty < 10_500
        await check(1, 10_000, "k1")
        assert await stored("k2") == (0, 0)

        def fork(found: Stored) -> Change:
            assert found.other is not None
            made = session("c", message_count=found.other.message_count)
            return Change(session=made, fork_of=found.other.uid)

        await store.change("t", "c", fork, LookUp(other="a"))
        await check(3, filled)
        await delete(store, "c")
        await delete(store, "b")
        await check(1, 10_000)
        await put(store, session("a", uid="again", key="k2"))
        assert await stored("k1") == (0, 0)
        await check(1, 0, "k2")
        await delete(store, "a")
        assert await stored() == (0, 0)

    async def test_messages_count_as_long_as_a_fork_shares_them(self, store: AccountStore) -> None:
        """Also when the session that wrote them is deleted, and once however many share them."""

        async def check(size: int) -> None:
            account = await read(store, AccountQuery(stored=True))
            assert account.stored_bytes == pytest.approx(size, abs=900)

        async def fork(name: str, of: str, message_count: int, **fields: str) -> None:
            def decide(found: Stored) -> Change:
                assert found.other is not None
                return Change(session=session(name, message_count=message_count, **fields), fork_of=found.other.uid)

            await store.change("t", name, decide, LookUp(other=of))

        await put(store, session("a"))
        await append(store, "a", *["x" * 10_000] * 4)
        await fork("b", "a", 2)
        await fork("c", "a", 3)
        await check(40_000)
        await delete(store, "a")
        await check(30_000)
        await append(store, "c", "y" * 10_000)
        await check(40_000)
        await fork("d", "c", 4)
        await fork("e", "d", 1)
        await check(40_000)
        await delete(store, "c")
        await check(40_000)
        await append(store, "d", "z" * 5_000)
        await check(45_000)
        await fork("d", "d", 4, uid="again")
        await check(40_000)
        await delete(store, "d")
        await check(20_000)
        await delete(store, "b")
        await check(10_000)
        await delete(store, "e")
        await check(0)

    async def test_removed_messages_count_as_long_as_a_fork_shares_them(self, store: AccountStore) -> None:
        """A rewind frees what no other session has."""

        async def check(size: int) -> None:
            account = await read(store, AccountQuery(stored=True))
            assert account.stored_bytes == pytest.approx(size, abs=900)

        await put(store, session("a"))
        await append(store, "a", *["x" * 10_000] * 4)
        await rewind(store, "a", 3)
        await check(30_000)
        await fork(store, "a", "b", 2)
        await fork(store, "b", "c", 2, "y" * 10_000)
        await rewind(store, "a", 1)
        await check(30_000)
        await append(store, "a", "z" * 5_000)
        await check(35_000)
        await rewind(store, "b", 0)
        await check(35_000)
        await rewind(store, "c", 2)
        await check(25_000)
        await rewind(store, "c", 1)
        await check(15_000)
        await delete(store, "a")
        await check(10_000)
        await delete(store, "c")
        await check(0)

    async def test_a_closed_store_knows_no_accounts(self, store: AccountStore) -> None:
        """As with everything else."""
        await store.close()
        for reading in (
            store.usage(UsageQuery(limit=1)),
            store.key("k"),
            store.keys("t", 1, None),
            store.secret("s"),
            store.change_key("k1", lambda _: key()),
        ):
            with pytest.raises(StoreUnavailable):
                await reading
