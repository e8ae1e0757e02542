"""The options that only the gateway has, for edges whose protocols need them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mcp_server.errors import (
    EtagMismatch,
    InvalidArgument,
    ProviderStreamCut,
    ProviderUnavailable,
    RequestIdReused,
    SessionNotFound,
    TurnCancelled,
    TurnNotFound,
)
from mcp_server.gateway import ChatInput, CompletionInput, Gateway, TurnOptions, TurnReader
from mcp_server.interfaces import Finish, Provider, Store
from mcp_server.principal import ANONYMOUS, Principal
from mcp_server.sessions.manager import MCPSessionManager
from mcp_server.sessions.ownership import Ownership
from mcp_server.settings import testing_config as default_settings
from mcp_server.stores.memory import MemoryStore
from mcp_server.stores.sqlite import SQLiteStore
from mcp_server.testing import Gate, ScriptedProvider, Step
from mcp_server.values import (
    SECOND,
    Capabilities,
    Completed,
    Delta,
    GenerationConfig,
    Message,
    Model,
    OnCut,
    ResponseFormat,
    Role,
    SessionDraft,
    Started,
    Switched,
    SwitchMode,
    Text,
)
from tests.gateways import gateway_of

Open = Callable[..., AbstractAsyncContextManager[Gateway]]
"""Opens a gateway over the store of the test, with models that are asked in that order. With SQLite it may be opened
again."""


@pytest.fixture(params=["memory", "sqlite"])
def store_kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def new_store(store_kind: str, tmp_path: Path) -> Callable[[], Store]:
    return lambda: MemoryStore() if store_kind == "memory" else SQLiteStore(tmp_path / "store.db")


@pytest.fixture
def open_gateway(new_store: Callable[[], Store]) -> Open:
    @asynccontextmanager
    async def start(*providers: Provider, store: Store | None = None, **arguments: Any) -> AsyncIterator[Gateway]:
        store = store or new_store()
        named = {f"p{number}": provider for number, provider in enumerate(providers)}
        routes = {"all": [f"{name}/scripted" for name in named]}
        async with gateway_of(named, "all", store, routes=routes, **arguments) as gateway:
            yield gateway

    return start


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 1_800_000_000 * SECOND

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


SETTINGS = default_settings()
GRACE = SETTINGS.turns.disconnect_grace
RETENTION = int(SETTINGS.turns.retention * SECOND)


async def sweep(store: Store, clock: Clock) -> None:
    """What a server does once per interval."""
    await MCPSessionManager(store, Ownership("test", clock), SETTINGS.sessions).sweep(RETENTION, clock())


def message(role: Role, text: str) -> Message:
    return Message(role=role, parts=(Text(text=text),))


def asking(text: str, *, options: TurnOptions | None = None, instruction: str = "", **fields: Any) -> ChatInput:
    return ChatInput(
        options=options or TurnOptions(**fields), messages=(message(Role.USER, text),), instruction=instruction
    )


async def answer(gateway: Gateway, chat: ChatInput) -> Completed:
    with await gateway.chat(ANONYMOUS, chat) as reader:
        completed = await reader.last()
    assert isinstance(completed, Completed)
    return completed


async def begun(gateway: Gateway, chat: ChatInput) -> TurnReader:
    """A reader of the turn, which has got the first piece of its answer."""
    reader = await gateway.chat(ANONYMOUS, chat)
    async for _, event in reader:
        if isinstance(event, Delta):
            break
    return reader


async def end(reader: TurnReader) -> Completed:
    with reader:
        completed = await reader.last()
    assert isinstance(completed, Completed)
    return completed


async def history(gateway: Gateway, session: str) -> list[str]:
    return [each.text async for each in gateway.list_messages(ANONYMOUS, session, limit=100)]


def prompts(provider: ScriptedProvider) -> list[list[tuple[str, str]]]:
    return [[(each.role, each.text) for each in request.messages] for request in provider.requests]


# -- an instruction for one turn --------------------------------------------------------------------------------------


async def test_an_instruction_is_for_one_turn(open_gateway: Open) -> None:
    """It follows the instruction of the session in the prompt, and neither the history nor the next prompt has it."""
    provider = ScriptedProvider.saying("A", "B")
    async with open_gateway(provider) as gateway:
        await gateway.create_session(ANONYMOUS, "a", SessionDraft(system_instruction="Be kind."))
        await answer(gateway, asking("one", session="a", instruction="Be brief."))
        tokens = (await gateway.get_session(ANONYMOUS, "a")).tokens
        await answer(gateway, asking("two", session="a"))
        assert await history(gateway, "a") == ["one", "A", "two", "B"]
        assert (await gateway.get_session(ANONYMOUS, "a")).system_instruction == "Be kind."
    assert prompts(provider) == [
        [("system", "Be kind.\n\nBe brief."), ("user", "one")],
        [("system", "Be kind."), ("user", "one"), ("assistant", "A"), ("user", "two")],
    ]
    async with open_gateway(provider) as gateway:
        await gateway.create_session(ANONYMOUS, "b", SessionDraft(system_instruction="Be kind."))
        await answer(gateway, asking("one", session="b"))
        assert (await gateway.get_session(ANONYMOUS, "b")).tokens == tokens


async def test_an_instruction_needs_no_session() -> None:
    """Without one, it goes before the messages of the call."""
    provider = ScriptedProvider.saying("A")
    async with gateway_of({"p": provider}, "p/scripted", MemoryStore()) as gateway:
        completed = await answer(gateway, asking("one", instruction="Be brief."))
        turn = await gateway.get_turn(ANONYMOUS, "", completed.message.turn.rpartition("/")[2])
    assert prompts(provider) == [[("system", "Be brief."), ("user", "one")]]
    assert turn.window.input_tokens > asking("one").estimate_tokens()


async def test_an_instruction_belongs_to_the_request() -> None:
    """A retry has the same one, and it counts among the input."""
    async with gateway_of({"p": ScriptedProvider.saying("A")}, "p/scripted", MemoryStore()) as gateway:
        await answer(gateway, asking("one", request_id="r", instruction="Be brief."))
        await answer(gateway, asking("one", request_id="r", instruction="Be brief."))
        with pytest.raises(RequestIdReused):
            await answer(gateway, asking("one", request_id="r", instruction="Be long."))
    assert asking("one", instruction="x" * 400).estimate_tokens() >= asking("one").estimate_tokens() + 100


async def test_an_instruction_may_be_too_long() -> None:
    """It has the limit of a session's instruction."""
    async with gateway_of({"p": ScriptedProvider.saying("A")}, "p/scripted", MemoryStore()) as gateway:
        with pytest.raises(InvalidArgument) as refused:
            await gateway.chat(ANONYMOUS, asking("one", instruction="x" * (256 * 1024 + 1)))
    assert [violation.field for violation in refused.value.violations] == ["instruction"]


# -- a turn that leaves its session as it is --------------------------------------------------------------------------


async def test_a_turn_that_commits_nothing(open_gateway: Open) -> None:
    """It is shown the history, which stays as it is; its answer is in its record."""
    provider = ScriptedProvider.saying("A", "B", "C")
    async with open_gateway(provider) as gateway:
        await gateway.create_session(ANONYMOUS, "a", SessionDraft())
        await answer(gateway, asking("one", session="a"))
        before = await gateway.get_session(ANONYMOUS, "a")
        completed = await answer(gateway, asking("two", session="a", etag=before.etag, commit=False))
        assert await gateway.get_session(ANONYMOUS, "a") == before
        assert await history(gateway, "a") == ["one", "A"]
        turn, _ = await gateway.list_turns(ANONYMOUS, "a", limit=2)
        assert turn.message is not None
        found = await gateway.get_turn(ANONYMOUS, "a", turn.id)
        assert found.message == completed.message
        assert (completed.message.text, completed.message.id, completed.message.turn) == ("B", "", turn.name)
        assert completed.session_etag == turn.session_etag == before.etag
        with pytest.raises(EtagMismatch):
            await answer(gateway, asking("two", session="a", etag="other", commit=False))
        await answer(gateway, asking("three", session="a"))
    assert prompts(provider)[1:] == [
        [("user", "one"), ("assistant", "A"), ("user", "two")],
        [("user", "one"), ("assistant", "A"), ("user", "three")],
    ]


async def test_turns_that_commit_nothing_run_beside_others(open_gateway: Open) -> None:
    """Two of them begin while another turn has the session, which neither of them gets or delays."""
    gates = [Gate() for _ in range(3)]
    scripts: list[list[Step]] = [[str(number), gate, Finish()] for number, gate in enumerate(gates)]
    provider = ScriptedProvider(*scripts)
    async with open_gateway(provider) as gateway:
        session = await gateway.create_session(ANONYMOUS, "a", SessionDraft())
        beside = await begun(gateway, asking("beside", session="a", commit=False))
        holder = await begun(gateway, asking("holder", session="a"))
        also = await begun(gateway, asking("also", session="a", commit=False))
        for gate in gates[1:]:
            gate.open()
        assert (await end(holder)).message.text == "1"
        assert (await end(also)).session_etag == (await gateway.get_session(ANONYMOUS, "a")).etag != session.etag
        await gateway.append_messages(ANONYMOUS, "a", [message(Role.USER, "more")])
        gates[0].open()
        assert (await end(beside)).message.text == "0"
        assert await history(gateway, "a") == ["holder", "1", "more"]
        assert (await gateway.get_session(ANONYMOUS, "a")).claim == ""


async def test_a_turn_that_commits_nothing_ends_with_its_session(open_gateway: Open) -> None:
    """When it is deleted, the turn stops like any other."""
    provider = ScriptedProvider(["A", Gate(), Finish()])
    async with open_gateway(provider) as gateway:
        await gateway.create_session(ANONYMOUS, "a", SessionDraft())
        reader = await begun(gateway, asking("one", session="a", commit=False))
        await gateway.delete_session(ANONYMOUS, "a")
        with pytest.raises(SessionNotFound):
            await end(reader)


@pytest.mark.parametrize("added", [1, 5])
async def test_a_second_attempt_sees_the_history_of_the_first(open_gateway: Open, added: int) -> None:
    """What others have added since the turn began is not in its prompt, be it more than a prompt may have."""
    gate = Gate()
    first = ScriptedProvider(["A", Finish()], [gate, ProviderUnavailable("down")])
    second = ScriptedProvider.saying("B")
    async with open_gateway(first, second, max_messages=3) as gateway:
        await gateway.create_session(ANONYMOUS, "a", SessionDraft())
        await answer(gateway, asking("one", session="a"))
        reader = await gateway.chat(ANONYMOUS, asking("two", session="a", commit=False))
        await gate.reached.wait()
        await gateway.append_messages(ANONYMOUS, "a", [message(Role.USER, "later")] * added)
        gate.open()
        await end(reader)
    assert prompts(first)[1:] == prompts(second) == [[("user", "one"), ("assistant", "A"), ("user", "two")]]


async def test_a_request_that_commits_nothing_is_another_one(open_gateway: Open) -> None:
    """A retry of it gets its answer; the same call that commits must have another request_id."""
    provider = ScriptedProvider.saying("A")
    async with open_gateway(provider) as gateway:
        await gateway.create_session(ANONYMOUS, "a", SessionDraft())
        first = await answer(gateway, asking("one", session="a", request_id="r", commit=False))
        assert await answer(gateway, asking("one", session="a", request_id="r", commit=False)) == first
        with pytest.raises(RequestIdReused):
            await answer(gateway, asking("one", session="a", request_id="r"))
    assert len(provider.requests) == 1


async def test_nothing_is_saved_without_a_commit() -> None:
    """A completion cannot ask for both."""
    async with gateway_of({"p": ScriptedProvider.saying("A")}, "p/scripted", MemoryStore()) as gateway:
        with pytest.raises(InvalidArgument) as refused:
            await gateway.complete(
                ANONYMOUS,
                CompletionInput(options=TurnOptions(session="a", commit=False), prompt="one", save_as="x"),
            )
    assert [violation.field for violation in refused.value.violations] == ["save_as"]


# -- a turn that is not retained --------------------------------------------------------------------------------------


async def test_a_turn_that_is_not_retained(open_gateway: Open, new_store: Callable[[], Store]) -> None:
    """It can be read until the grace period ends, and then not even before a sweep; one that is retained stays."""
    clock, store = Clock(), new_store()
    provider = ScriptedProvider.saying("A", "B")
    async with open_gateway(provider, store=store, clock=clock) as gateway:
        await gateway.create_session(ANONYMOUS, "a", SessionDraft())
        kept = (await answer(gateway, asking("one", session="a"))).message.turn.rpartition("/")[2]
        brief = await answer(gateway, asking("two", session="a", retain=False))
        name = brief.message.turn.rpartition("/")[2]
        clock.advance(GRACE - 0.001)
        await sweep(store, clock)
        assert (await gateway.get_turn(ANONYMOUS, "a", name)).message == brief.message
        with await gateway.read_turn(ANONYMOUS, "a", name) as reader:
            assert await reader.last() == brief
        clock.advance(0.001)
        assert await store.turn("default", name) is not None
        for use_case in (gateway.get_turn, gateway.read_turn, gateway.cancel_turn):
            with pytest.raises(TurnNotFound):
                await use_case(ANONYMOUS, "a", name)
        for limit in (1, 2):
            assert [turn.id for turn in await gateway.list_turns(ANONYMOUS, "a", limit=limit)] == [kept]
        clock.advance(0.001)
        await sweep(store, clock)
        assert await store.turn("default", name) is None
        assert await store.events("default", name) == ()
        assert (await gateway.get_turn(ANONYMOUS, "a", kept)).id == kept
        assert await history(gateway, "a") == ["one", "A", "two", "B"]


async def test_a_request_that_is_not_retained_is_forgotten(open_gateway: Open, new_store: Callable[[], Store]) -> None:
    """Sent again, it finds its turn within the grace period and begins another one afterwards, sweep or not."""
    clock, store = Clock(), new_store()
    provider = ScriptedProvider.saying("A", "B")
    chat = asking("one", session="a", request_id="r", retain=False)
    async with open_gateway(provider, store=store, clock=clock) as gateway:
        await gateway.create_session(ANONYMOUS, "a", SessionDraft())
        kept = await answer(gateway, asking("zero", request_id="k"))
        first = await answer(gateway, chat)
        assert await answer(gateway, chat) == first
        clock.advance(GRACE)
        with pytest.raises(TurnNotFound):
            await answer(gateway, asking("one", session="a", request_id="r", retain=False, after_sequence=1))
        second = await answer(gateway, chat)
        assert second.message.turn != first.message.turn
        assert await store.turn("default", first.message.turn.rpartition("/")[2]) is None
        assert await answer(gateway, chat) == second
        assert await answer(gateway, asking("zero", request_id="k")) == kept


async def test_a_turn_that_is_not_retained_is_deleted_after_a_restart(tmp_path: Path) -> None:
    """Its record says when, also of a turn that the restart has interrupted."""
    clock, path = Clock(), tmp_path / "store.db"
    providers = {"p": ScriptedProvider(["A", Finish()], ["B", Gate(), Finish()])}
    async with gateway_of(providers, "p/scripted", SQLiteStore(path), clock=clock) as gateway:
        ended = (await answer(gateway, asking("one", retain=False))).message.turn.rpartition("/")[2]
        reader = await begun(gateway, asking("two", request_id="r", retain=False))
    reader.close()
    store = SQLiteStore(path)
    async with gateway_of(providers, "p/scripted", store, clock=clock) as gateway:
        assert (await gateway.get_turn(ANONYMOUS, "", ended)).id == ended
        clock.advance(GRACE)
        with pytest.raises(TurnNotFound):
            await gateway.get_turn(ANONYMOUS, "", ended)
        clock.advance(0.001)
        await sweep(store, clock)
        assert await store.turn("default", ended) is None
        with pytest.raises(TurnNotFound):
            await answer(gateway, asking("two", request_id="r", retain=False, after_sequence=0))


# -- what follows after a cut -----------------------------------------------------------------------------------------

DOWN = ProviderUnavailable("down")


def model(*, prefill: bool) -> Model:
    return Model(name="scripted", capabilities=Capabilities(chat=True, prefill=prefill, json_schema=True))


@pytest.mark.parametrize(
    ("on_cut", "prefill", "text", "modes"),
    [
        (None, True, "B", [SwitchMode.RESTARTED]),
        (OnCut.RESTART, True, "B", [SwitchMode.RESTARTED]),
        (OnCut.CONTINUE, True, "AB", [SwitchMode.CONTINUED]),
        (OnCut.CONTINUE, False, "B", [SwitchMode.RESTARTED]),
        (OnCut.CONTINUE_OR_FAIL, True, "AB", [SwitchMode.CONTINUED]),
        (OnCut.CONTINUE_OR_FAIL, False, "", []),
        (OnCut.FAIL, True, "", []),
    ],
)
async def test_what_follows_after_a_cut(
    on_cut: OnCut | None, prefill: bool, text: str, modes: list[SwitchMode]
) -> None:
    """The call decides, whatever the route says: the answer goes on, begins anew, or is the call's error."""
    second = ScriptedProvider.saying("B", model=model(prefill=prefill))
    providers = {"p": ScriptedProvider(["A", DOWN]), "q": second}
    async with gateway_of(providers, "r", MemoryStore(), routes={"r": ["p/scripted", "q/scripted"]}) as gateway:
        with await gateway.chat(ANONYMOUS, asking("one", on_cut=on_cut)) as reader:
            events = [event async for _, event in reader] if text else []
            if not text:
                with pytest.raises(ProviderStreamCut):
                    await reader.last()
    assert len(second.requests) == bool(text)
    assert [event.mode for event in events if isinstance(event, Switched)] == modes
    assert [event.message.text for event in events if isinstance(event, Completed)] == ([text] if text else [])


async def test_who_cannot_continue_is_passed_over() -> None:
    """After the first piece only models that can continue are asked; before it, any."""
    down, cut = ScriptedProvider([DOWN]), ScriptedProvider(["A", DOWN])
    unable = ScriptedProvider.saying("B")
    able = ScriptedProvider(["C", DOWN], ["D", Finish()], model=model(prefill=True))
    providers = {"down": down, "cut": cut, "unable": unable, "able": able, "also": able}
    routes = {"r": [f"{name}/scripted" for name in providers]}
    async with gateway_of(providers, "r", MemoryStore(), routes=routes) as gateway:
        completed = await answer(gateway, asking("one", on_cut=OnCut.CONTINUE_OR_FAIL))
    assert completed.message.text == "ACD"
    assert [attempt.provider for attempt in completed.attempts] == ["down", "cut", "able", "also"]
    assert unable.requests == []


async def test_a_form_of_json_is_not_continued() -> None:
    """A model would hold the rest alone to the form, so that the turn fails."""
    providers = {
        "p": ScriptedProvider(["{", DOWN], model=model(prefill=True)),
        "q": ScriptedProvider.saying("}", model=model(prefill=True)),
    }
    config = GenerationConfig(response_format=ResponseFormat.JSON_SCHEMA, json_schema='{"type": "object"}')
    async with gateway_of(providers, "r", MemoryStore(), routes={"r": ["p/scripted", "q/scripted"]}) as gateway:
        with pytest.raises(ProviderStreamCut):
            await answer(gateway, asking("one", config=config, on_cut=OnCut.CONTINUE_OR_FAIL))


# -- a history of a certain length ------------------------------------------------------------------------------------


async def test_a_history_has_the_length_that_is_expected(open_gateway: Open) -> None:
    """Or the turn does not begin; the same request finds its turn all the same."""
    provider = ScriptedProvider.saying("A", "B")
    async with open_gateway(provider) as gateway:
        await gateway.create_session(ANONYMOUS, "a", SessionDraft())
        first = asking("one", session="a", message_count=0, request_id="k")
        answered = await answer(gateway, first)
        for count in (0, 1, 3):
            for commit in (True, False):
                with pytest.raises(EtagMismatch, match=f"has 2 messages, not {count}"):
                    await answer(gateway, asking("two", session="a", message_count=count, commit=commit))
        assert await answer(gateway, first) == answered
        await answer(gateway, asking("two", session="a", message_count=2))
        assert await history(gateway, "a") == ["one", "A", "two", "B"]


async def test_details_are_kept_with_a_turn(open_gateway: Open) -> None:
    """While it runs, and in its record; they belong to the request."""
    gate = Gate()
    async with open_gateway(ScriptedProvider(["A", gate, Finish()])) as gateway:
        await gateway.create_session(ANONYMOUS, "a", SessionDraft())
        chat = asking("one", session="a", request_id="k", details={"tools": [{"name": "x"}]})
        reader = await begun(gateway, chat)
        (running,) = await gateway.list_turns(ANONYMOUS, "a", limit=1)
        assert running.details == {"tools": [{"name": "x"}]}
        gate.open()
        await end(reader)
        assert (await gateway.get_turn(ANONYMOUS, "a", running.id)).details == running.details
        with pytest.raises(RequestIdReused):
            await answer(gateway, asking("one", session="a", request_id="k", details={}))


# -- the messages of a turn -------------------------------------------------------------------------------------------


async def test_the_last_message_of_a_turn_is_found(open_gateway: Open, new_store: Callable[[], Store]) -> None:
    """Among many others, and after the turn itself was forgotten; but not in a fork, where it is another one's."""
    clock, store = Clock(), new_store()
    async with open_gateway(ScriptedProvider.saying("A"), store=store, clock=clock) as gateway:
        await gateway.create_session(ANONYMOUS, "a", SessionDraft())
        names = [(await answer(gateway, asking(str(n), session="a"))).message.turn for n in range(2)]
        await gateway.append_messages(ANONYMOUS, "a", [message(Role.USER, "x")] * 50)
        clock.advance(SETTINGS.turns.retention + 1)
        await sweep(store, clock)
        first, second = [name.rpartition("/")[2] for name in names]
        with pytest.raises(TurnNotFound):
            await gateway.get_turn(ANONYMOUS, "a", first)
        assert await gateway.find_turn_message(ANONYMOUS, "a", first) == 1
        assert await gateway.find_turn_message(ANONYMOUS, "a", second) == 3
        await gateway.fork_session(ANONYMOUS, "a", new_id="b")
        for session, turn in [("a", "t0"), ("b", first), ("c", first)]:
            with pytest.raises(TurnNotFound):
                await gateway.find_turn_message(ANONYMOUS, session, turn)
        with pytest.raises(TurnNotFound):
            await gateway.find_turn_message(Principal(tenant="other"), "a", first)


# -- a hidden turn ----------------------------------------------------------------------------------------------------


async def assert_hidden(gateway: Gateway, session: str, turn: str) -> None:
    """To every use case the turn does not exist."""
    for use_case in (gateway.get_turn, gateway.read_turn, gateway.cancel_turn, gateway.hide_turn):
        with pytest.raises(TurnNotFound):
            await use_case(ANONYMOUS, session, turn)
    if session:
        with pytest.raises(TurnNotFound):
            await gateway.find_turn_message(ANONYMOUS, session, turn)
        assert turn not in [each.id for each in await gateway.list_turns(ANONYMOUS, session, limit=10)]


async def test_a_hidden_turn_is_not_found(open_gateway: Open, new_store: Callable[[], Store]) -> None:
    """Its record goes with the next sweep; the session and its history stay as they are."""
    clock, store = Clock(), new_store()
    async with open_gateway(ScriptedProvider.saying("A"), store=store, clock=clock) as gateway:
        await gateway.create_session(ANONYMOUS, "a", SessionDraft())
        first, second = [
            (await answer(gateway, asking(text, session="a"))).message.turn.rpartition("/")[2] for text in ("x", "y")
        ]
        before = await gateway.get_session(ANONYMOUS, "a")
        await gateway.hide_turn(ANONYMOUS, "a", first)
        await assert_hidden(gateway, "a", first)
        assert await gateway.find_turn_message(ANONYMOUS, "a", first, include_hidden=True) == 1
        assert [turn.id for turn in await gateway.list_turns(ANONYMOUS, "a", limit=1)] == [second]
        assert await gateway.find_turn_message(ANONYMOUS, "a", second) == 3
        after = await gateway.get_session(ANONYMOUS, "a")
        assert (after.etag, after.update_time, after.message_count) == (before.etag, before.update_time, 4)
        assert await history(gateway, "a") == ["x", "A", "y", "A"]
        clock.advance(-60)
        await assert_hidden(gateway, "a", first)
        clock.advance(60.001)
        await sweep(store, clock)
        assert await store.turn("default", first) is None
        await assert_hidden(gateway, "a", first)
        await answer(gateway, asking("z", session="a"))
        await assert_hidden(gateway, "a", first)


async def test_a_running_turn_is_stopped_and_hidden(open_gateway: Open) -> None:
    """With and without a session; its request_id may begin another turn."""
    provider = ScriptedProvider(["A", Gate(), Finish()], ["B", Gate(), Finish()], ["C", Finish()])
    async with open_gateway(provider) as gateway:
        await gateway.create_session(ANONYMOUS, "a", SessionDraft())
        for session in ("a", ""):
            chat = asking("one", session=session, request_id="r")
            reader = await gateway.chat(ANONYMOUS, chat)
            _, started = await anext(aiter(reader))
            assert isinstance(started, Started)
            turn = started.turn.rpartition("/")[2]
            await gateway.hide_turn(ANONYMOUS, session, turn)
            with pytest.raises(TurnCancelled):
                await end(reader)
            await assert_hidden(gateway, session, turn)
        assert (await answer(gateway, asking("one", request_id="r"))).message.text == "C"
        assert await history(gateway, "a") == []
    assert provider.cancelled == 2


async def test_a_turn_past_its_retention_is_hidden(open_gateway: Open, new_store: Callable[[], Store]) -> None:
    """The session remembers it while it lives; what never existed cannot be hidden."""
    clock, store = Clock(), new_store()
    async with open_gateway(ScriptedProvider.saying("A"), store=store, clock=clock) as gateway:
        await gateway.create_session(ANONYMOUS, "a", SessionDraft())
        turn = (await answer(gateway, asking("x", session="a"))).message.turn.rpartition("/")[2]
        clock.advance(SETTINGS.turns.retention + 1)
        await sweep(store, clock)
        assert await gateway.find_turn_message(ANONYMOUS, "a", turn) == 1
        await gateway.hide_turn(ANONYMOUS, "a", turn)
        await assert_hidden(gateway, "a", turn)
        for session, other in [("a", "t0"), ("b", turn), ("", turn)]:
            with pytest.raises(TurnNotFound):
                await gateway.hide_turn(ANONYMOUS, session, other)


async def test_a_turn_stays_hidden_after_a_restart(tmp_path: Path) -> None:
    """In the file of the store."""
    path, providers = tmp_path / "store.db", {"p": ScriptedProvider.saying("A")}
    async with gateway_of(providers, "p/scripted", SQLiteStore(path)) as gateway:
        await gateway.create_session(ANONYMOUS, "a", SessionDraft(metadata={"x": 1}))
        names = [(await answer(gateway, asking("x", session=session))).message.turn for session in ("a", "")]
        turns = [name.rpartition("/")[2] for name in names]
        for session, turn in zip(("a", ""), turns, strict=True):
            await gateway.hide_turn(ANONYMOUS, session, turn)
    async with gateway_of(providers, "p/scripted", SQLiteStore(path)) as gateway:
        for session, turn in zip(("a", ""), turns, strict=True):
            await assert_hidden(gateway, session, turn)
        assert await gateway.find_turn_message(ANONYMOUS, "a", turns[0], include_hidden=True) == 1
        assert (await gateway.get_session(ANONYMOUS, "a")).metadata == {"x": 1}


async def test_so_many_turns_of_a_session_can_be_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """A further one is refused; one without messages in the history does not count."""
    monkeypatch.setattr("mcp_server.sessions.changes.MAX_HIDDEN_TURNS", 1)
    async with gateway_of({"p": ScriptedProvider.saying("A")}, "p/scripted", MemoryStore()) as gateway:
        await gateway.create_session(ANONYMOUS, "a", SessionDraft())
        turns = [
            (await answer(gateway, asking("x", session="a", commit=commit))).message.turn.rpartition("/")[2]
            for commit in (False, True, True)
        ]
        for turn in turns[:2]:
            await gateway.hide_turn(ANONYMOUS, "a", turn)
        with pytest.raises(InvalidArgument):
            await gateway.hide_turn(ANONYMOUS, "a", turns[2])
        assert (await gateway.get_turn(ANONYMOUS, "a", turns[2])).id == turns[2]
