"""Odd answers of servers, sent in pieces cut anywhere: what the provider ``openai`` makes of each."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_server.errors import MCPError
from mcp_server.interfaces import (
    EmbedRequest,
    Finish,
    GenerateRequest,
    ProviderEvent,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStart,
)
from mcp_server.providers.http.masking import mask
from mcp_server.providers.openai import provider as module
from mcp_server.providers.openai.calls import MAX_CALLS, ToolCalls
from mcp_server.providers.openai.chunks import Call, Function
from mcp_server.settings import Secret
from mcp_server.values import FinishReason, Tool, Usage, UsageSource
from mcp_server.values.surrogates import repaired
from tests.providers.answers import CASES, FAULTS, Case, Failure, Whole, dumped
from tests.providers.asking import asking, chat
from tests.upstream.replies import Body, End, Hang, Head, Steps

SMALL = 700
"""Up to how many bytes a body is cut at every place."""
READ = {name: case for name, case in CASES.items() if case.status == 200 and not case.open}
"""The answers whose body is read piece by piece."""


def reply(case: Case, pieces: Sequence[bytes] = ()) -> Steps:
    """The answer of a server."""
    bodies = [Body(piece) for piece in pieces or (case.body,) if piece]
    return Steps((Head(case.status, case.content_type, case.headers), *bodies, Hang() if case.open else End()))


def request(case: Case) -> GenerateRequest:
    """The call that gets it."""
    tools = tuple([Tool(name=name) for name in case.tools])
    return chat(config={"logprobs": 1} if case.logprobs else None, tools=tools)


def summary(events: Sequence[ProviderEvent]) -> Whole:
    """What an answer came to."""
    text = reasoning = refusal = ""
    calls: dict[str, list[str]] = {}
    logprobs: list[tuple[str, float]] = []
    finish = events[-1]
    assert isinstance(finish, Finish)
    for piece in events[:-1]:
        match piece:
            case str():
                text += piece
            case TextDelta():
                text += piece.text
                logprobs += [(one.token, one.logprob) for one in piece.logprobs]
            case ReasoningDelta():
                reasoning += piece.text
            case RefusalDelta():
                refusal += piece.text
            case ToolCallStart():
                assert piece.id not in calls
                calls[piece.id] = [piece.name, ""]
            case ToolArgumentsDelta():
                calls[piece.id][1] += piece.text
            case _:
                raise AssertionError(piece)
    text, reasoning, refusal = repaired(text), repaired(reasoning), repaired(refusal)  # as the turn does
    used = finish.usage
    assert used is None or used.source is UsageSource.REPORTED
    return Whole(
        text=text,
        reasoning=reasoning,
        refusal=refusal,
        calls=tuple(
            [(name, json.loads(repaired(arguments)) if arguments else None) for name, arguments in calls.values()]
        ),
        reason=finish.reason,
        usage=None if used is None else (used.input_tokens, used.output_tokens),
        logprobs=tuple(logprobs),
    )


def check(case: Case, events: Sequence[ProviderEvent], error: MCPError | None) -> None:
    """Compare what came with what must come."""
    expected = case.expected
    if isinstance(expected, Whole):
        assert error is None, error
        assert summary(events) == expected
        return
    assert isinstance(expected, Failure)
    assert type(error) is expected.type, (error, events)
    assert error.metadata.get("cause", "") == expected.cause
    assert expected.words in error.message
    assert error.retry_after == expected.retry_after
    shown = f"{error.message} {error.metadata}".lower()
    assert not [word for word in expected.hidden if word.lower() in shown]


async def outcome(provider: Any, asked: GenerateRequest) -> tuple[list[ProviderEvent], MCPError | None]:
    """The events of an answer, and how it failed."""
    events: list[ProviderEvent] = []
    try:
        async for piece in provider.generate(asked):
            events += [piece]
    except MCPError as error:
        return events, error
    return events, None


@pytest.mark.parametrize("name", CASES)
async def test_each_answer_is_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a real connection: in one piece, and byte by byte."""
    monkeypatch.setattr(module, "GRACE", 0.3)
    monkeypatch.setattr(module, "END_GRACE", 0.1)
    case = CASES[name]
    async with asking(reply(case), reply(case, [case.body[at : at + 1] for at in range(len(case.body))])) as (
        provider,
        up,
    ):
        for _ in range(2):
            async with asyncio.timeout(20):
                check(case, *await outcome(provider, request(case)))
        assert len(up.calls) == 2


class _Content:
    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = [piece for piece in pieces if piece]

    async def readany(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


class _Response:
    """A body in pieces, without a connection."""

    def __init__(self, case: Case, pieces: Sequence[bytes]) -> None:
        self.status = 200
        self.content_type = case.content_type.split(";")[0]
        self.headers = case.headers
        self.connection = None
        self.content = _Content(pieces)

    def close(self) -> None:
        """Nothing is open."""


async def check_cuts(case: Case, cuts: Sequence[Sequence[bytes]]) -> None:
    """Read an answer that is cut in each of these ways."""
    async with asking() as (provider, _):
        for pieces in cuts:

            async def post(*_: Any, pieces: Sequence[bytes] = pieces) -> Any:
                return _Response(case, pieces)

            provider._upstream.post = post  # type: ignore[assignment, method-assign]
            check(case, *await outcome(provider, request(case)))


@pytest.mark.parametrize("name", READ)
async def test_a_cut_makes_no_difference(name: str) -> None:
    """At every place of a small body, and at every fifth of a larger one."""
    case = READ[name]
    places = range(1, len(case.body), 1 if len(case.body) <= SMALL else 5)
    await check_cuts(case, [(case.body[:at], case.body[at:]) for at in places])


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_many_cuts_make_no_difference(data: st.DataObject) -> None:
    """Wherever they are."""
    case = READ[data.draw(st.sampled_from(sorted(READ)))]
    cuts = sorted(data.draw(st.sets(st.integers(0, len(case.body)), max_size=30)))
    pieces = [case.body[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(case.body)], strict=True)]
    asyncio.run(check_cuts(case, [pieces]))


async def test_an_answer_ends_soon_after_its_finish_reason() -> None:
    """At once where usage has come, and after a short grace where it has not, whatever comments come."""
    for name, longest in {"open after the usage": 1.0, "open after the finish reason": module.GRACE + 1}.items():
        async with asking(reply(CASES[name])) as (provider, up):
            before = asyncio.get_running_loop().time()
            check(CASES[name], *await outcome(provider, request(CASES[name])))
            assert asyncio.get_running_loop().time() - before < longest
            await up.idle()
            assert len(up.calls) == 1


@pytest.mark.parametrize("name", ["a key in a 400", "a key in an event", "an unknown model in a 400", "a country"])
async def test_the_next_key_is_tried(name: str) -> None:
    """A call may be repeated at once while another key may be accepted; after that it says what is wrong."""
    case = FAULTS[name]
    async with asking(reply(case), api_key=None, api_keys=[Secret("sk-one"), Secret("sk-two")]) as (provider, up):
        _, error = await outcome(provider, request(case))
        assert error is not None
        assert (error.retry_after, error.metadata["cause"]) == (0, "credentials")
        check(case, *await outcome(provider, request(case)))
        assert {call.key for call in up.calls} == {"sk-one", "sk-two"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see https://console.example.ai/keys?x=1 now", "see *** now"),
        ("at 10.1.2.3:8000 or [::1]:9000", "at *** or ***"),
        ("node gpu-3.svc.cluster.local:9000 is down", "node *** is down"),
        ("http failed on worker-7:8443", "http failed on ***"),
        ("write to ops@example.com", "write to ***"),
        ("key sk-proj-abcDEF123456", "key ***"),
        ("key gsk_abcDEF123456, AIzaSyAbcdefgh1234", "key ***, ***"),
        ("key 0123456789abcdef0123456789abcdef", "key ***"),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("in org-abc123 and proj_abcDEF12", "in *** and ***"),
        ("claude-3-5-sonnet-20241022 and gpt-4.1-mini", "claude-3-5-sonnet-20241022 and gpt-4.1-mini"),
        (
            "messages[2].content: maximum is 8192 tokens. However",
            "messages[2].content: maximum is 8192 tokens. However",
        ),
    ],
)
def test_addresses_and_keys_are_masked(text: str, shown: str) -> None:
    """And nothing else."""
    assert mask(text) == shown


@pytest.mark.parametrize("named", [True, False])
def test_long_arguments_take_no_long_time(named: bool) -> None:
    """However many pieces they come in, and whatever may end with each."""
    pieces = 30_000
    calls = ToolCalls()
    before = time.process_time()
    calls.take([Call(index=0, id="a", name="add", arguments='{"a": [0')])
    for _ in range(pieces):
        calls.take([Call(index=0, name="add" if named else None, arguments=', {"b": "}"}')])
    calls.take([Call(index=0, arguments="]}")])
    calls.end()
    assert calls.complete
    assert time.process_time() - before < 5


VECTORS = {"data": [{"index": 0, "embedding": [1.0, 2.0]}, {"index": 1, "embedding": [3.0, 4.0]}]}


@pytest.mark.parametrize(
    ("body", "used"),
    [
        (dumped({**VECTORS, "usage": {"prompt_tokens": 2.0, "total_tokens": "2"}}), 2),
        (dumped({**VECTORS, "usage": {"prompt_tokens": -1}}), 0),
        (dumped({**VECTORS, "usage": "none", "error": None}), 0),
        (dumped({**VECTORS, "score": float("nan")}), 0),
        (b"\xef\xbb\xbf" + dumped(VECTORS), 0),
        (dumped({"data": [{"embedding": [1, 2]}, {"embedding": [3, 4]}]}), 0),
        (dumped({"data": [{"index": None, "embedding": [1, 2]}, {"index": "1", "embedding": [3, 4]}]}), 0),
    ],
)
async def test_odd_vectors_are_read(body: bytes, used: int) -> None:
    """Whatever stands beside them."""
    async with asking(Steps((Head(content_type="application/json"), Body(body), End()))) as (provider, _):
        made = await provider.embed(EmbedRequest(model="m", inputs=("a", "b")))
    assert [list(vector) for vector in made.vectors] == [[1, 2], [3, 4]]
    assert made.usage == (Usage(input_tokens=used, source=UsageSource.REPORTED) if used else Usage())


async def test_an_error_instead_of_vectors_is_one() -> None:
    """With the status 200 too."""
    body = dumped({"error": {"message": "Invalid API key", "code": 401}})
    async with asking(Steps((Head(content_type="application/json"), Body(body), End()))) as (provider, _):
        with pytest.raises(MCPError) as raised:
            await provider.embed(EmbedRequest(model="m", inputs=("a",)))
    assert raised.value.metadata["cause"] == "credentials"


def test_the_reasons_are_known() -> None:
    """Each case of a reason ends with it."""
    assert {case.expected.reason for case in CASES.values() if isinstance(case.expected, Whole)} == set(FinishReason)


@pytest.mark.parametrize("ids", [True, False])
@pytest.mark.parametrize("together", [True, False])
def test_more_tool_calls_than_are_read_cost_nothing(ids: bool, together: bool) -> None:
    """In one piece or in many, with indices or ids; the answer is not taken for a whole one."""
    pieces = [
        Call(id=f"c{n}" if ids else None, index=None if ids else n, function=Function(name="f", arguments='{"a":1}'))
        for n in range(20_000)
    ]
    calls, events = ToolCalls(), 0
    for piece in [pieces] if together else [[piece] for piece in pieces]:
        events += len(calls.take(piece))
    assert events == 2 * MAX_CALLS
    assert not calls.complete
