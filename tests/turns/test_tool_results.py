"""A tool call is never parted from its result: whatever would do that is refused, or not sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from mcp_server.errors import ContextTooLong, InvalidArgument, ToolResultsMissing
from mcp_server.gateway import ChatInput, Gateway, TurnOptions
from mcp_server.interfaces import Change, Finish, ProviderEvent, Stored
from mcp_server.principal import ANONYMOUS
from mcp_server.sessions.changes import appended
from mcp_server.stores.memory import MemoryStore
from mcp_server.values import Completed, Message, SessionDraft
from tests.gateways import gateway_of
from tests.turns.test_tools import answering, asking, user
from tests.upstream.strict import StrictProvider

ANSWER = asking("a", "b")
NEVER_ASKED = "messages[0].parts[0].tool_result.tool_call_id"


class Stage:
    """A session, and a model behind the strictest upstream."""

    def __init__(self, gateway: Gateway, provider: StrictProvider, store: MemoryStore) -> None:
        self.gateway = gateway
        self.provider = provider
        self.store = store

    async def append(self, *messages: Message, session: str = "s") -> None:
        await self.gateway.append_messages(ANONYMOUS, session, messages)

    async def chat(self, *messages: Message, session: str = "s") -> list[str]:
        """The roles of what the model was shown."""
        script: list[ProviderEvent | Exception] = ["fine", Finish()]
        self.provider.script = script
        chat = ChatInput(options=TurnOptions(session=session), messages=messages)
        with await self.gateway.chat(ANONYMOUS, chat) as reader:
            completed = await reader.last()
        assert isinstance(completed, Completed)
        assert completed.message.text == "fine"
        return [message["role"] for message in self.provider.bodies[-1]]


@pytest.fixture(params=[0])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    provider, store = StrictProvider(context_window=request.param), MemoryStore()
    async with gateway_of({"p": provider}, "p/strict", store, max_messages=20) as gateway:
        await gateway.create_session(ANONYMOUS, "s", SessionDraft())
        yield Stage(gateway, provider, store)


async def test_results_may_come_one_by_one(stage: Stage) -> None:
    """The next turn needs those that are still missing, and no others."""
    await stage.append(user(), ANSWER)
    await stage.append(answering("a"))
    with pytest.raises(ToolResultsMissing) as missing:
        await stage.chat(user())
    assert missing.value.metadata["tool_call_ids"] == "b"
    with pytest.raises(InvalidArgument) as refused:
        await stage.chat(answering("a"), answering("b"))
    assert [violation.field for violation in refused.value.violations] == [NEVER_ASKED]
    assert await stage.chat(answering("b"), user()) == ["user", "assistant", "tool", "tool", "user"]


@pytest.mark.parametrize("count", [2, 3])
async def test_a_fork_that_cuts_off_results_waits_for_them(stage: Stage, count: int) -> None:
    """As the session did at that time."""
    await stage.append(user(), ANSWER, answering("a"), answering("b"), user())
    await stage.gateway.fork_session(ANONYMOUS, "s", new_id="f", message_count=count)
    with pytest.raises(ToolResultsMissing):
        await stage.chat(user(), session="f")
    with pytest.raises(ToolResultsMissing):
        await stage.append(user(), session="f")
    await stage.append(*[answering(id) for id in ("a", "b")[count - 2 :]], session="f")
    assert (await stage.chat(user(), session="f"))[-1] == "user"


WRONG: dict[str, tuple[list[Message], type[Exception]]] = {
    "a call without a result": ([user(), ANSWER, answering("a"), user()], ToolResultsMissing),
    "a result that comes late": ([user(), asking("a"), user(), answering("a"), user()], ToolResultsMissing),
    "two answers in a row": ([user(), asking("a"), asking("b"), answering("b"), user()], ToolResultsMissing),
    "a result of no call": ([user(), answering("a"), user()], InvalidArgument),
    "a result at the beginning": ([answering("a"), user()], InvalidArgument),
    "a second result": ([user(), asking("a"), answering("a"), answering("a"), user()], InvalidArgument),
    "two in one message": ([user(), asking("a"), answering("a", "a"), user()], InvalidArgument),
}


@pytest.mark.parametrize("case", WRONG)
async def test_what_parts_them_is_refused(stage: Stage, case: str) -> None:
    """In an import, in a turn, and in a conversation without a session; nothing is stored."""
    conversation, error = WRONG[case]
    with pytest.raises(error):
        await stage.append(*conversation)
    with pytest.raises(error):
        await stage.chat(*conversation)
    with pytest.raises(error):
        await stage.chat(*conversation, session="")
    assert (await stage.gateway.get_session(ANONYMOUS, "s")).message_count == 0
    assert stage.provider.bodies == []


class SlowStore(MemoryStore):
    """Lets other calls go first between a read and what is written because of it."""

    async def messages(self, tenant: str, session_uid: str, start: int, stop: int) -> Sequence[Message]:
        messages = await super().messages(tenant, session_uid, start, stop)
        await asyncio.sleep(0.01)
        return messages


async def test_two_results_at_once_are_one() -> None:
    """The end of the history is read again if it has changed meanwhile."""
    async with gateway_of({"p": StrictProvider()}, "p/strict", SlowStore()) as gateway:
        await gateway.create_session(ANONYMOUS, "s", SessionDraft())
        await gateway.append_messages(ANONYMOUS, "s", [user(), asking("a")])
        calls = [gateway.append_messages(ANONYMOUS, "s", [answering("a")]) for _ in range(3)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert sorted([type(outcome) for outcome in outcomes], key=str) == [InvalidArgument, InvalidArgument, tuple]
        assert (await gateway.get_session(ANONYMOUS, "s")).message_count == 3


async def test_a_repeated_import_is_no_second_result(stage: Stage) -> None:
    """With its ``request_id`` it is carried out once, whatever the history ends with by now."""
    await stage.append(user(), asking("a"))
    for _ in range(2):
        await stage.gateway.append_messages(ANONYMOUS, "s", [answering("a"), user()], request_id="k")
    assert (await stage.gateway.get_session(ANONYMOUS, "s")).message_count == 4


async def test_histories_from_before_are_continued(stage: Stage) -> None:
    """Older releases stored what is refused now."""
    old = (answering("x"), user(), asking("a"), user(), asking("", "x" * 200), answering(""))

    def decide(stored: Stored) -> Change:
        assert stored.session is not None
        session, messages = appended(stored.session, old, 1)
        return Change(session=session, append=messages)

    await stage.store.change(ANONYMOUS.tenant, "s", decide)
    shown = await stage.chat(answering("x" * 200), user())
    assert shown == ["user", "assistant", "tool", "user", "assistant", "tool", "tool", "user"]


def long_exchange(rounds: int) -> list[Message]:
    return [user(), *[message for n in range(rounds) for message in (asking(f"c{n}"), answering(f"c{n}"))]]


async def test_an_exchange_that_is_longer_than_what_is_read_is_shown_whole(stage: Stage) -> None:
    """A turn reads the end of a history, and as much more as belongs to the last exchange."""
    await stage.append(*long_exchange(3), *long_exchange(119), asking("open"))
    shown = await stage.chat(answering("open"))
    assert shown == ["user", *["assistant", "tool"] * 120]
    assert await stage.chat(user()) == [*shown, "assistant", "user"]
    assert await stage.chat(user()) == ["user", "assistant", "user"]


@pytest.mark.parametrize("stage", [1000], indirect=True)
async def test_results_that_do_not_fit_are_refused_and_the_session_goes_on(stage: Stage) -> None:
    """The question, the call and its result go together or not at all."""
    await stage.append(user("x" * 800), asking("a"))
    with pytest.raises(ContextTooLong):
        await stage.chat(answering("a", text="y" * 2400))
    assert await stage.chat(answering("a", text="y" * 2400), user()) == ["user"]
    assert await stage.chat(user()) == ["user", "assistant", "user"]
