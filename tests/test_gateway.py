"""The gateway, called without an edge: it applies the rules itself, and works for the principal that it is given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from mcp_server.errors import InvalidArgument, MCPError, NotAllowed, SessionNotFound, TurnNotFound, Violation
from mcp_server.gateway import ChatInput, CompletionInput, EmbedInput, Gateway, TurnOptions
from mcp_server.principal import ANONYMOUS, Principal
from mcp_server.values import Completed, GenerationConfig, Message, Role, SessionDraft, SessionUpdate, Text, Tool
from tests.gateways import echo_gateway

OTHER = Principal(tenant="other")


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with echo_gateway() as gateway:
        yield gateway


def user(text: str) -> Message:
    return Message(role=Role.USER, parts=(Text(text=text),))


def chat(*messages: Message, session: str = "", request_id: str = "") -> ChatInput:
    return ChatInput(options=TurnOptions(session=session, request_id=request_id), messages=messages)


BAD: dict[str, tuple[Callable[[Gateway], Awaitable[object]], set[str]]] = {
    "chat": (
        lambda g: g.chat(
            ANONYMOUS,
            ChatInput(
                options=TurnOptions(etag="e", request_id="é", config=GenerationConfig(temperature=9)),
                messages=(user(""),),
                tools=(Tool(name="a b"),),
            ),
        ),
        {"etag", "request_id", "config.temperature", "messages[0].parts[0].text", "tools[0].name"},
    ),
    "complete": (
        lambda g: g.complete(ANONYMOUS, CompletionInput(options=TurnOptions(timeout=0), prompt="", save_as="a")),
        {"timeout", "prompt", "save_as"},
    ),
    "embed": (lambda g: g.embed(ANONYMOUS, EmbedInput(inputs=("",), dimensions=0)), {"inputs[0]", "dimensions"}),
    "count_tokens": (
        lambda g: g.count_tokens(ANONYMOUS, messages=(user(""),), model="m" * 300, tools=(Tool(name="a b"),)),
        {"messages[0].parts[0].text", "model", "tools[0].name"},
    ),
    "create_session": (
        lambda g: g.create_session(ANONYMOUS, "A", SessionDraft(ttl=0, labels={"B": ""}), request_id="\n"),
        {"session_id", "session.ttl", "session.labels['B']", "request_id"},
    ),
    "update_session": (
        lambda g: g.update_session(ANONYMOUS, "a", SessionUpdate(fields={"ttl": 0}, remove_context=("a b",))),
        {"session.ttl", "remove_context[0]"},
    ),
    "list_sessions": (lambda g: g.list_sessions(ANONYMOUS, limit=1, labels={"B": ""}), {"labels['B']"}),
    "fork_session": (
        lambda g: g.fork_session(ANONYMOUS, "a", new_id="B", message_count=-1, request_id="\n"),
        {"session_id", "message_count", "request_id"},
    ),
    "append_messages": (
        lambda g: g.append_messages(ANONYMOUS, "a", [Message(role=Role.SYSTEM)], request_id="\n"),
        {"messages[0].role", "messages[0].parts", "request_id"},
    ),
    "rewind_session": (
        lambda g: g.rewind_session(ANONYMOUS, "a", -1, etag="e" * 5000, request_id="\n"),
        {"message_count", "etag", "request_id"},
    ),
    "watch_session": (lambda g: g.watch_session(ANONYMOUS, "a", after_etag="e" * 5000), {"after_etag"}),
}


@pytest.mark.parametrize("use_case", BAD)
async def test_a_bad_request_is_refused_whoever_calls(gateway: Gateway, use_case: str) -> None:
    """All that is wrong is reported at once, together with what the edge reports, and nothing is done."""
    call, fields = BAD[use_case]
    with pytest.raises(InvalidArgument) as refused:
        await call(gateway)
    assert {violation.field for violation in refused.value.violations} == fields
    assert await gateway.list_sessions(ANONYMOUS, limit=10, labels={}) == []


REPORTED = [Violation(field="name", description="is not a valid name")]
VIOLATIONS: dict[str, Callable[[Gateway], Awaitable[object]]] = {
    "chat": lambda g: g.chat(ANONYMOUS, chat(user("x")), violations=REPORTED),
    "complete": lambda g: g.complete(
        ANONYMOUS, CompletionInput(options=TurnOptions(), prompt="x"), violations=REPORTED
    ),
    "embed": lambda g: g.embed(ANONYMOUS, EmbedInput(inputs=("x",)), violations=REPORTED),
    "create_session": lambda g: g.create_session(ANONYMOUS, "a", SessionDraft(), violations=REPORTED),
    "get_session": lambda g: g.get_session(ANONYMOUS, "a", violations=REPORTED),
    "list_sessions": lambda g: g.list_sessions(ANONYMOUS, limit=1, labels={}, violations=REPORTED),
    "update_session": lambda g: g.update_session(
        ANONYMOUS, "a", SessionUpdate(fields={"default_model": "echo"}), violations=REPORTED
    ),
    "delete_session": lambda g: g.delete_session(ANONYMOUS, "a", violations=REPORTED),
    "fork_session": lambda g: g.fork_session(ANONYMOUS, "a", violations=REPORTED),
    "list_messages": lambda g: anext(g.list_messages(ANONYMOUS, "a", limit=1, violations=REPORTED)),
    "append_messages": lambda g: g.append_messages(ANONYMOUS, "a", [user("x")], violations=REPORTED),
    "rewind_session": lambda g: g.rewind_session(ANONYMOUS, "a", 0, violations=REPORTED),
    "watch_session": lambda g: g.watch_session(ANONYMOUS, "a", violations=REPORTED),
    "get_turn": lambda g: g.get_turn(ANONYMOUS, "a", "t", violations=REPORTED),
    "list_turns": lambda g: g.list_turns(ANONYMOUS, "a", limit=1, violations=REPORTED),
    "read_turn": lambda g: g.read_turn(ANONYMOUS, "a", "t", violations=REPORTED),
    "cancel_turn": lambda g: g.cancel_turn(ANONYMOUS, "a", "t", violations=REPORTED),
    "hide_turn": lambda g: g.hide_turn(ANONYMOUS, "a", "t", violations=REPORTED),
    "find_turn_message": lambda g: g.find_turn_message(ANONYMOUS, "a", "t", violations=REPORTED),
    "list_models": lambda g: g.list_models(ANONYMOUS, limit=1, violations=REPORTED),
    "get_model": lambda g: g.get_model(ANONYMOUS, "echo", violations=REPORTED),
    "count_tokens": lambda g: g.count_tokens(ANONYMOUS, messages=(user("hi"),), violations=REPORTED),
}


@pytest.mark.parametrize("use_case", VIOLATIONS)
async def test_what_the_edge_could_not_convert_refuses_every_use_case(gateway: Gateway, use_case: str) -> None:
    """A placeholder never reaches a session, a turn or a model."""
    with pytest.raises(InvalidArgument) as refused:
        await VIOLATIONS[use_case](gateway)
    assert list(refused.value.violations) == REPORTED


async def test_a_principal_sees_its_own_tenant_alone(gateway: Gateway) -> None:
    """To another one, its session and its turn do not exist."""
    session = await gateway.create_session(ANONYMOUS, "a", SessionDraft())
    with await gateway.chat(ANONYMOUS, chat(user("hi"), session="a")) as reader:
        completed = await reader.last()
    assert isinstance(completed, Completed)
    assert completed.message.text == "hi"
    turn = (await gateway.list_turns(ANONYMOUS, "a", limit=1))[0]
    assert [message.text async for message in gateway.list_messages(ANONYMOUS, "a", limit=9)] == ["hi", "hi"]

    hidden: list[tuple[Callable[[], Awaitable[object]], type[MCPError]]] = [
        (lambda: gateway.get_session(OTHER, "a"), SessionNotFound),
        (lambda: gateway.delete_session(OTHER, "a"), SessionNotFound),
        (lambda: gateway.fork_session(OTHER, "a"), SessionNotFound),
        (lambda: gateway.append_messages(OTHER, "a", [user("x")]), SessionNotFound),
        (lambda: gateway.rewind_session(OTHER, "a", 0), SessionNotFound),
        (lambda: gateway.watch_session(OTHER, "a"), SessionNotFound),
        (lambda: gateway.embed(OTHER, EmbedInput(inputs=("x",), session="a")), SessionNotFound),
        (lambda: anext(gateway.list_messages(OTHER, "a", limit=1)), SessionNotFound),
        (lambda: gateway.list_turns(OTHER, "a", limit=1), SessionNotFound),
        (lambda: gateway.get_turn(OTHER, "a", turn.id), TurnNotFound),
        (lambda: gateway.read_turn(OTHER, "a", turn.id), TurnNotFound),
        (lambda: gateway.cancel_turn(OTHER, "a", turn.id), TurnNotFound),
        (lambda: gateway.hide_turn(OTHER, "a", turn.id), TurnNotFound),
    ]
    for call, error in hidden:
        with pytest.raises(error):
            await call()
    assert await gateway.list_sessions(OTHER, limit=9, labels={}) == []
    assert (await gateway.get_session(ANONYMOUS, "a")).uid == session.uid


async def test_a_principal_sees_only_the_models_that_it_may_use(gateway: Gateway) -> None:
    """In lists, by name, and when it chats."""
    limited = Principal(models=("other/*",))
    (entry,) = await gateway.list_models(ANONYMOUS, limit=9)
    assert (entry.name, entry.provider, entry.aliases, entry.is_default) == ("echo/echo", "echo", ("echo",), True)
    assert await gateway.get_model(ANONYMOUS, "echo") == entry
    assert await gateway.list_models(limited, limit=9) == []
    with pytest.raises(NotAllowed):
        await gateway.get_model(limited, "echo")
    with pytest.raises(NotAllowed):
        await gateway.chat(limited, chat(user("hi")))


async def test_a_request_keeps_its_digest_across_releases(gateway: Gateway) -> None:
    """A request that is sent again after an upgrade must not count as another one."""
    await gateway.create_session(ANONYMOUS, "a", SessionDraft())
    with await gateway.chat(ANONYMOUS, chat(user("hi"), session="a", request_id="r")) as reader:
        await reader.last()
    (turn,) = await gateway.list_turns(ANONYMOUS, "a", limit=9)
    assert turn.digest.hex() == "13661856d43b12226a3611ea396884a3"


async def test_tokens_are_counted_with_an_instruction_of_the_turn(gateway: Gateway) -> None:
    """In a session it is added to the session's own."""
    await gateway.create_session(ANONYMOUS, "tour", SessionDraft(system_instruction="Be brief."))
    counted = await gateway.count_tokens(ANONYMOUS, messages=(user("one"),), instruction="In French, please.")
    assert (counted.tokens, counted.exact) == (4, True)
    counted = await gateway.count_tokens(
        ANONYMOUS, session="tour", messages=(user("one"),), instruction="In French, please."
    )
    assert counted.tokens == 6
