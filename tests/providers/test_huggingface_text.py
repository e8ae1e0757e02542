"""The text of answers that Hugging Face models write, however it comes: nothing torn, nothing of a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_server.providers.huggingface.protocol import ReasoningPiece, TextPiece, WholeToolCall
from mcp_server.providers.huggingface.worker.text import CALL, THINK, AnswerText, Detokenizer, Event
from mcp_server.values import Logprob

LETTERS = "ab<>"
"""So few that stop strings and marks are met all the time."""


def pieces(text: str, cuts: Sequence[int]) -> list[str]:
    """The text, cut at some places."""
    places = sorted({0, len(text), *[cut % (len(text) + 1) for cut in cuts]})
    return [text[start:end] for start, end in pairwise(places)]


def parsed(chunks: Sequence[str], *, stops: Sequence[str] = (), marks: bool = False) -> tuple[list[Event], AnswerText]:
    """The events of a text that comes in pieces, and its end."""
    answer = AnswerText(0, stops=stops, thinks=marks, calls=marks)
    events: list[Event] = []
    for piece in chunks:
        events += answer.push(piece)
    return [*events, *answer.end()], answer


def text_of(events: Sequence[Event]) -> str:
    """The text in it."""
    return "".join([event.text for event in events if isinstance(event, TextPiece)])


@given(st.text(LETTERS, max_size=30), st.lists(st.integers(0, 30)), st.lists(st.text(LETTERS, min_size=1, max_size=4)))
def test_the_text_ends_before_the_first_stop_string_that_is_whole(text: str, cuts: list[int], stops: list[str]) -> None:
    """However it is cut, the events have the text up to the first of them, and no more."""
    events, answer = parsed(pieces(text, cuts), stops=stops)
    met = [(place + len(stop), place) for stop in stops if (place := text.find(stop)) >= 0]
    _end, first = min(met, default=(0, len(text)))
    assert text_of(events) == text[:first]
    assert answer.stopped is bool(met)
    assert all(event.text for event in events if isinstance(event, TextPiece))


@given(st.lists(st.integers(0, 200)))
def test_marks_are_met_however_the_text_is_cut(cuts: list[int]) -> None:
    """Thoughts and calls are the same in one piece and in many."""
    call = '\n{"name": "weather", "arguments": {"city": "Oslo"}}\n'
    text = f"{THINK[0]}\nHm < 3.\n{THINK[1]}\n\nI look.{CALL[0]}{call}{CALL[1]}\n{CALL[0]}{call}{CALL[1]}"
    events, answer = parsed(pieces(text, cuts), marks=True)
    assert "".join([event.text for event in events if isinstance(event, ReasoningPiece)]) == "Hm < 3.\n"
    assert text_of(events) == "I look."
    calls = [event for event in events if isinstance(event, WholeToolCall)]
    assert [(call.name, msgspec.json.decode(call.arguments)) for call in calls] == [("weather", {"city": "Oslo"})] * 2
    assert len({call.call for call in calls}) == 2
    assert answer.called


@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        ('{"name": "f"}', {}),
        ('{"name": "f", "parameters": {"a": 1}}', {"a": 1}),
        ('{"name": "f", "arguments": "{\\"a\\": 1}"}', {"a": 1}),
    ],
)
def test_calls_are_understood_in_their_several_forms(written: str, arguments: dict[str, int]) -> None:
    """Without arguments, under another name, and as a text; also when the end of the answer ends the call."""
    for end in (CALL[1], ""):
        (call,), _ = parsed([CALL[0] + written + end], marks=True)
        assert isinstance(call, WholeToolCall)
        assert (call.name, msgspec.json.decode(call.arguments)) == ("f", arguments)


@pytest.mark.parametrize("written", ["not JSON", '{"no": "name"}', "[]"])
def test_what_is_no_call_is_text(written: str) -> None:
    """Whoever reads it sees what the model wrote."""
    for end in (CALL[1], ""):
        events, answer = parsed([CALL[0] + written + end], marks=True)
        assert text_of(events) == CALL[0] + written + end
        assert not answer.called


def test_marks_mean_nothing_where_the_model_does_not_know_them() -> None:
    """They are text then."""
    events, _ = parsed([THINK[0], "x", THINK[1], CALL[0]])
    assert text_of(events) == "".join([THINK[0], "x", THINK[1], CALL[0]])


def test_stop_strings_do_not_end_thoughts() -> None:
    """They are about what is said."""
    events, answer = parsed([THINK[0], "no stop", THINK[1], "go stop"], stops=["stop"], marks=True)
    assert text_of(events) == "go "
    assert answer.stopped


@given(st.lists(st.text(LETTERS, min_size=1, max_size=3), max_size=12))
def test_probabilities_stay_with_their_text(tokens: list[str]) -> None:
    """However text is held back, each token's probability comes with the last of its text, in order."""
    answer = AnswerText(0, stops=["abab", "<<"], thinks=False, calls=False)
    events: list[Event] = []
    for index, token in enumerate(tokens):
        events += answer.push(token, Logprob(token=token, logprob=-float(index)))
    events += answer.end()
    likely = [logprob for event in events if isinstance(event, TextPiece) for logprob in event.logprobs]
    assert [-logprob.logprob for logprob in likely] == list(range(len(likely)))
    assert text_of(events).startswith("".join([logprob.token for logprob in likely]))
    if not answer.stopped:
        assert len(likely) == len(tokens)


def decoded(tokens: Sequence[int]) -> str:
    """Text in which each token is a byte."""
    return bytes(tokens).decode(errors="replace")


@given(st.text(max_size=20), st.binary(max_size=6))
def test_no_character_is_torn(text: str, before: bytes) -> None:
    """Byte by byte, and after any prompt, only whole characters come, and all of them."""
    detokenizer = Detokenizer(decoded, list(before.decode(errors="ignore").encode()))
    came = [detokenizer.push(byte) for byte in text.encode()]
    assert "".join(came) == text
    assert [len(piece) for piece in came if piece] == [1] * len(text)


def test_bytes_that_are_no_characters_do_not_hold_back_the_rest() -> None:
    """After some of them the answer goes on."""
    detokenizer = Detokenizer(decoded, [])
    came = "".join([detokenizer.push(byte) for byte in b"\xff" * 20 + b"and so on"])
    assert came.endswith("and so on")


def test_the_text_of_another_token_is_that_in_its_place() -> None:
    """As if it had come next."""
    detokenizer = Detokenizer(decoded, list(b"It is "))
    assert detokenizer.alternative(ord("x")) == "x"
    detokenizer.push(ord("y"))
    assert detokenizer.alternative(ord("z")) == "z"
