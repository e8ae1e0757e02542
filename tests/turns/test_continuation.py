"""What was stored can always be continued, whatever models said, callers sent, forks cut off or older releases kept."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any, Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcp_server.errors import ContextTooLong, InvalidArgument, ToolResultsMissing, UnsupportedByModel
from mcp_server.gateway import ChatInput, Gateway, TurnOptions
from mcp_server.interfaces import (
    Change,
    Finish,
    ProviderEvent,
    ReasoningDelta,
    RefusalDelta,
    Stored,
    ToolArgumentsDelta,
    ToolCallStart,
)
from mcp_server.principal import ANONYMOUS
from mcp_server.sessions.changes import appended
from mcp_server.stores.memory import MemoryStore
from mcp_server.values import (
    Completed,
    FinishReason,
    Message,
    PartStarted,
    Reasoning,
    Refusal,
    Role,
    SessionDraft,
    Text,
    ToolCall,
    ToolResult,
)
from tests.gateways import gateway_of
from tests.upstream.strict import StrictProvider

MAY_REFUSE: Final = (ToolResultsMissing, InvalidArgument, ContextTooLong, UnsupportedByModel)
"""What a caller may be told about a turn; never what an upstream says."""

ids = st.sampled_from(["a", "a", "b", "b", "c", "", "a b", "é\n", "x" * 40, "x" * 200, "call\x00"])
names = st.sampled_from(["look", "look", "", "functions.look", "a b", "é", "n" * 100])
arguments = st.sampled_from(
    ["{}", '{"a": 1}', "", " ", '{"a": "', "{a: 1}", "[1]", "null", '"{}"', "NaN", '{"a": NaN}', "{}{}", "[" * 2000]
)
texts = st.sampled_from(["", " \n", "yes", "z" * 300])
calls = st.builds(ToolCall, id=ids, name=names, arguments_json=arguments)
answer_parts = st.lists(
    st.one_of(
        calls,
        calls,
        st.builds(Text, text=texts),
        st.builds(Reasoning, text=texts),
        st.builds(Refusal, text=texts),
    ),
    min_size=1,
    max_size=3,
).map(tuple)
results = st.builds(
    ToolResult, tool_call_id=ids, parts=st.sampled_from([(), (Text(text="r"),), (Text(text="r" * 900),)])
)
users = st.builds(Message, role=st.just(Role.USER), parts=st.just((Text(text="go on"),)))
answers = st.builds(Message, role=st.just(Role.ASSISTANT), parts=answer_parts)
tools = st.builds(Message, role=st.just(Role.TOOL), parts=st.lists(results, min_size=1, max_size=2).map(tuple))
messages = st.lists(st.one_of(users, answers, tools), min_size=1, max_size=6).map(tuple)


def events_of(parts: Sequence[Any]) -> list[ProviderEvent]:
    """An answer of these parts, as a provider streams it."""
    events: list[ProviderEvent] = []
    for part in parts:
        if isinstance(part, ToolCall):
            events.append(ToolCallStart(id=part.id, name=part.name))
            events.append(ToolArgumentsDelta(id=part.id, text=part.arguments_json))
        elif isinstance(part, Text):
            events.append(part.text)
        elif isinstance(part, Reasoning):
            events.append(ReasoningDelta(text=part.text))
        else:
            events.append(RefusalDelta(text=part.text))
    return events


ends = st.sampled_from(
    [
        Finish(),
        Finish(reason=FinishReason.TOOL_CALLS),
        Finish(reason=FinishReason.LENGTH),
        UnsupportedByModel("the provider failed"),
    ]
)
scripts = st.builds(lambda parts, end: [*events_of(parts), end], answer_parts, ends)
which = st.integers(0, 3)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("continue"), which, scripts),
        st.tuples(st.just("continue"), which, scripts),
        st.tuples(st.just("chat"), which, scripts, messages),
        st.tuples(st.just("converse"), which, scripts, messages),
        st.tuples(st.just("append"), which, messages),
        st.tuples(st.just("fork"), which, st.integers(0, 12)),
        st.tuples(st.just("inherit"), which, messages),
    ),
    max_size=10,
)


class Stage:
    """Some sessions, and a model behind the strictest upstream."""

    def __init__(self, gateway: Gateway, provider: StrictProvider, store: MemoryStore) -> None:
        self._gateway = gateway
        self._provider = provider
        self._store = store
        self._sessions: list[str] = []

    async def begin(self) -> None:
        session = await self._gateway.create_session(ANONYMOUS, "", SessionDraft(system_instruction="Be brief."))
        self._sessions.append(session.id)

    async def do(self, step: tuple[Any, ...]) -> None:
        """What a caller may do, and what it may be refused."""
        kind, number, *rest = step
        session = self._sessions[number % len(self._sessions)]
        try:
            if kind == "continue":
                await self._continue(session, rest[0])
            elif kind == "chat":
                await self._chat(session, rest[0], rest[1])
            elif kind == "converse":
                await self._chat("", rest[0], rest[1])
            elif kind == "append":
                await self._gateway.append_messages(ANONYMOUS, session, rest[0])
            elif kind == "fork":
                forked = await self._gateway.fork_session(ANONYMOUS, session, message_count=rest[0])
                self._sessions.append(forked.id)
            else:
                await self._inherit(session, rest[0])
        except MAY_REFUSE:
            pass

    async def go_on(self) -> None:
        """The next turn of every session succeeds."""
        for session in self._sessions:
            await self._continue(session, ["fine", Finish()])

    async def _continue(self, session: str, script: list[ProviderEvent | Exception]) -> None:
        """A caller that answers the open calls, as far as its history shows them, and says something."""
        history = [message async for message in self._gateway.list_messages(ANONYMOUS, session, limit=1000)]
        waiting: list[str] = []
        for message in history:
            if message.role is not Role.TOOL:
                waiting = [part.id for part in message.parts if isinstance(part, ToolCall)]
            for part in message.parts:
                if isinstance(part, ToolResult) and part.tool_call_id in waiting:
                    waiting.remove(part.tool_call_id)
        open_calls = [ToolResult(tool_call_id=id, parts=(Text(text="interrupted"),)) for id in waiting]
        new = [Message(role=Role.TOOL, parts=(result,)) for result in open_calls]
        await self._chat(session, script, (*new, Message(role=Role.USER, parts=(Text(text="Never mind."),))))

    async def _chat(self, session: str, script: list[ProviderEvent | Exception], new: tuple[Message, ...]) -> None:
        self._provider.script = script
        started: list[tuple[str, str]] = []
        with await self._gateway.chat(
            ANONYMOUS, ChatInput(options=TurnOptions(session=session), messages=new)
        ) as reader:
            async for _, event in reader:
                if isinstance(event, PartStarted) and event.kind == "tool_call":
                    started.append((event.tool_call_id, event.tool_name))
                elif isinstance(event, Completed):
                    calls = [(part.id, part.name) for part in event.message.parts if isinstance(part, ToolCall)]
                    assert calls == started
        assert len({id for id, _ in started}) == len(started)
        for id, name in started:
            assert re.fullmatch(r"[!-~]{1,40}", id)
            assert re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", name)

    async def _inherit(self, session_id: str, messages: tuple[Message, ...]) -> None:
        """Store messages as releases did that checked less."""

        def decide(stored: Stored) -> Change:
            assert stored.session is not None
            session, added = appended(stored.session, messages, 1)
            return Change(session=session, append=added)

        await self._store.change(ANONYMOUS.tenant, session_id, decide)


async def play(script: Sequence[tuple[Any, ...]], max_messages: int, context_window: int) -> None:
    provider, store = StrictProvider(context_window=context_window), MemoryStore()
    async with gateway_of({"p": provider}, "p/strict", store, max_messages=max_messages) as gateway:
        stage = Stage(gateway, provider, store)
        await stage.begin()
        for step in script:
            await stage.do(step)
        await stage.go_on()
    assert provider.problems == []


@settings(max_examples=300, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(steps, st.sampled_from([2, 3, 5, 200]), st.sampled_from([0, 300, 700]))
def test_the_next_turn_is_always_possible(
    script: list[tuple[Any, ...]], max_messages: int, context_window: int
) -> None:
    """Odd answers, failures, imports, cuts, forks, old histories: the strictest upstream takes what is sent to it."""
    with asyncio.Runner() as runner:
        runner.run(play(script, max_messages, context_window))
