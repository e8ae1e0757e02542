"""What the demo answers."""

from __future__ import annotations

import itertools
import re
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from mcp_server.errors import UnsupportedByModel
from mcp_server.providers.demo import commands, sampling, tools
from mcp_server.providers.demo.conversation import Conversation, described, quoted, result_text
from mcp_server.providers.demo.examples import NoExample, example
from mcp_server.providers.demo.hints import Hints
from mcp_server.providers.demo.plan import Plan
from mcp_server.providers.demo.tokens import count, tokens_of
from mcp_server.values import ResponseFormat

OPENINGS: Final = {"This": "This is the demo", "Here": "Here is the demo", "The": "The demo speaks"}
"""The openings of answers, by their first token."""
WEIGHTS: Final = {"This": 0.6, "Here": 0.3, "The": 0.1}
"""How likely each is."""
_ASKS_FOR_HISTORY: Final = re.compile(
    r"\bwhat (did|have) (i|we) (say|said|write|written|ask|asked|talk)\b", re.IGNORECASE
)


def plan_of(conversation: Conversation, seed: int) -> Plan:
    """What the demo is going to answer.

    Args:
        conversation: what is asked.
        seed: the seed of the settings.

    Raises:
        UnsupportedByModel: no value was found that conforms to the JSON Schema of the answer or of a strict tool.
    """
    usual = _usual(conversation, seed)
    plan = None if conversation.results else commands.run(conversation, usual)
    calls = plan.calls if plan is not None else ()
    if not calls:
        wanted = tools.chosen(conversation, by_name=plan is None and not conversation.results)
        calls = tuple([tools.call(conversation, tool, index) for index, tool in enumerate(wanted)])
    plan = plan or usual
    if calls:
        why = " ".join([plan.why, f"The tools to call: {', '.join([call.name for call in calls])}."])
        return replace(plan, why=why.strip(), tokens=(), opening=None, calls=calls)
    if conversation.request.config.response_format is not ResponseFormat.TEXT and not plan.refuses:
        text = msgspec.json.encode(_object(conversation)).decode()
        return replace(plan, why=f"{plan.why} The answer must be JSON.", tokens=tokens_of(text), opening=None)
    return plan


def reasoning(conversation: Conversation, plan: Plan) -> str:
    """The reasoning behind a plan: how the demo has found its answer."""
    return (
        "A demo has no thoughts; this is how it chooses its answer. "
        f"The last message has {count(conversation.text)} tokens. {plan.why}"
    )


def _usual(conversation: Conversation, seed: int) -> Plan:
    """The answer without commands, tool calls and JSON."""
    if conversation.request.prompt is not None:
        return Plan(why="It continues a text.", tokens=tokens_of(_continuation(conversation)))
    if conversation.results:
        outcomes = [_outcome(name, result_text(result), result.is_error) for name, result in conversation.results]
        text = f"{' '.join(outcomes)} This is the demo, not a model: it only repeats that."
        return Plan(why="Tools have returned results.", tokens=tokens_of(text))
    if _ASKS_FOR_HISTORY.search(conversation.text):
        return commands.history(conversation, "", Plan(why="It asks for the history."))
    config = conversation.request.config
    seeds = f"{seed} {config.seed} {conversation.digest}"
    first = sampling.draw(WEIGHTS, config, seeds)
    opening = None if config.logprobs is None else sampling.logprob(first, WEIGHTS, config.logprobs)
    return Plan(
        why="It names no command and no tool.",
        tokens=tokens_of(" ".join([f"{OPENINGS[first]}, not a model.", *_sentences(conversation)])),
        opening=opening,
    )


def _sentences(conversation: Conversation) -> list[str]:
    """What the demo says about the message."""
    found = [f"You wrote: {quoted(conversation.text)}."] if conversation.text.strip() else []
    if blobs := conversation.blobs:
        found.append(f"You sent: {', '.join(map(described, blobs))}.")
    if recalled := conversation.recalled():
        found.append(f"Before that, you wrote: {quoted(recalled)}.")
    found.append(f"It is your message {len(conversation.asked)} of this conversation.")
    found.append("Write /help for what I can do.")
    return found


def _continuation(conversation: Conversation) -> str:
    prompt, suffix = conversation.text, conversation.request.suffix
    end = " ".join(prompt.split()[-6:])
    before = f", and goes before {quoted(suffix, 60)}" if suffix.strip() else ""
    return (
        f" … and here the demo goes on, which is not a model. The text so far has {count(prompt)} tokens, ends with "
        f"{quoted(end, 60)}{before}."
    )


def _outcome(name: str, text: str, failed: bool) -> str:
    return f"The tool {name} {'failed' if failed else 'returned'}: {text or 'nothing'}."


def _object(conversation: Conversation) -> Any:
    """The JSON value that is asked for."""
    request = conversation.request
    if request.config.response_format is ResponseFormat.JSON:
        return {"demo": "not a model", "you_wrote": conversation.text, "messages": len(conversation.messages)}
    text = request.config.json_schema
    hints = Hints((conversation.asked or [request.prompt or ""])[-1])
    try:
        return example(text, msgspec.json.decode(text), hints)
    except NoExample as error:
        raise UnsupportedByModel(
            f"the model {request.model} cannot follow the JSON schema: {error}", metadata={"model": request.model}
        ) from error


def behind(tokens: Any, beginning: str) -> Any:
    """The tokens that follow a beginning of the answer; all of them, if the answer would have begun differently."""
    rest = iter(tokens)
    taken = ""
    while len(taken) < len(beginning) and (token := next(rest, None)) is not None:
        taken += token
    first = taken[len(beginning) :] if taken.startswith(beginning) else f" {taken}"
    return itertools.chain([first] if first else [], rest)
