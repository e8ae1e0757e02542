"""The commands of the demo: what a message that begins with ``/`` makes it do."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Final

from msgspec.structs import replace

from mcp_server.providers.demo.conversation import Conversation, quoted, shown
from mcp_server.providers.demo.failures import KINDS, BadFailure, Failure, failure_of
from mcp_server.providers.demo.plan import Plan
from mcp_server.providers.demo.tokens import tokens_of
from mcp_server.providers.demo.tools import arguments_in, made
from mcp_server.values import FinishReason, Struct

MOST_TOKENS: Final = 1_000_000
"""The longest answer that may be asked for, in tokens."""
MOST_SECONDS: Final = 3_600.0
"""The longest pause that may be asked for."""
LISTED: Final = 100
"""How many messages of a conversation are listed."""
_OTHERS: Final = """\
Any other message: a tool that it names is called, a JSON Schema is followed, and the earlier message that has most
words in common with it is repeated."""


class BadCommand(Exception):
    """A command is not used as it must be; the message says how."""


class Command(Struct):
    """One command."""

    usage: str
    """What is written behind its name."""
    does: str
    """What it does, as the end of a sentence."""
    plan: Callable[[Conversation, str, Plan], Plan]
    """Changes the plan of the usual answer, by the text behind the name of the command."""


def run(conversation: Conversation, usual: Plan) -> Plan | None:
    """The plan that a command asks for; ``None`` if the message is no command.

    Args:
        conversation: what is asked.
        usual: the answer without commands.
    """
    name, text = parsed(conversation.text)
    if not name:
        return None
    if name not in COMMANDS:
        return _saying(usual, f"The demo has no command /{name}. Write /help for those that it has.")
    try:
        plan = COMMANDS[name].plan(conversation, text, usual)
    except (BadCommand, BadFailure) as error:
        plan = _saying(usual, f"/{name}: {error}. Write /help for all commands of the demo.")
    return replace(plan, why=f"It is the command /{name}.")


def parsed(text: str) -> tuple[str, str]:
    """The name of the command, and what is behind it; empty if the text is no command."""
    words = text.strip()
    if not words.startswith("/") or not words[1:2].isalpha():
        return "", ""
    name, *rest = words[1:].split(maxsplit=1)
    return (name.lower(), "".join(rest)) if name.isalpha() else ("", "")


def failure_in(text: str) -> Failure | None:
    """The failure that a text asks for by the command ``/fail``, if it is one."""
    name, words = parsed(text)
    try:
        return failure_of(words) if name == "fail" else None
    except BadFailure:
        return None


def history(conversation: Conversation, text: str, usual: Plan) -> Plan:
    """List the conversation as it was shown."""
    before = conversation.messages[:-1]
    lines = [f"{message.role}: {shown(message)}" for message in before[-LISTED:]]
    left_out = len(before) - len(lines)
    head = f"Before your last message, the demo was shown {len(before)} messages"
    head += f", of which these are the last {LISTED}:" if left_out else (":" if before else ".")
    numbered = [f"{left_out + index}. {line}" for index, line in enumerate(lines, 1)]
    return _saying(usual, "\n".join([head, *numbered]))


def _help(conversation: Conversation, text: str, usual: Plan) -> Plan:
    lines = ["This is a demo, not a model: it answers by rules, so that the server can be tried. Its commands:"]
    lines += [f"{f'/{name} {one.usage}'.strip()} – {one.does}" for name, one in COMMANDS.items()]
    lines += ["The kinds of /fail:", *[f"{kind} – {what}" for kind, (_, _, what) in KINDS.items()]]
    return _saying(usual, "\n".join([*lines, _OTHERS]))


def _context(conversation: Conversation, text: str, usual: Plan) -> Plan:
    system = conversation.system
    return _saying(usual, f"The demo was shown this before the messages:\n{system}" if system else "There is none.")


def _say(conversation: Conversation, text: str, usual: Plan) -> Plan:
    if not text:
        raise BadCommand("write the text behind it")
    return _saying(usual, text)


def _think(conversation: Conversation, text: str, usual: Plan) -> Plan:
    return replace(usual, thinks=True)


def _call(conversation: Conversation, text: str, usual: Plan) -> Plan:
    name = text.partition(" ")[0]
    request = conversation.request
    names = [tool.name for tool in request.tools] if request.tool_choice.mode != "none" else []
    if name not in names:
        offered = f"the tools {', '.join(names)}" if names else "no tools to call"
        raise BadCommand(f"this message comes with {offered}")
    return replace(usual, tokens=(), opening=None, calls=(made(conversation, name, arguments_in(text), 0),))


def _long(conversation: Conversation, text: str, usual: Plan) -> Plan:
    return replace(usual, opening=None, tokens=itertools.islice(lines(), int(_number(text, 500, MOST_TOKENS))))


def _loop(conversation: Conversation, text: str, usual: Plan) -> Plan:
    return replace(usual, opening=None, tokens=lines())


def _slow(conversation: Conversation, text: str, usual: Plan) -> Plan:
    return replace(usual, interval=_number(text, 1.0, MOST_SECONDS))


def _wait(conversation: Conversation, text: str, usual: Plan) -> Plan:
    return replace(usual, wait=_number(text, 5.0, MOST_SECONDS))


def _refuse(conversation: Conversation, text: str, usual: Plan) -> Plan:
    return replace(_saying(usual, "The demo declines to answer, as you asked it to."), refuses=True)


def _filter(conversation: Conversation, text: str, usual: Plan) -> Plan:
    return replace(usual, tokens=itertools.islice(usual.tokens, 8), reason=FinishReason.CONTENT_FILTER)


def _fail(conversation: Conversation, text: str, usual: Plan) -> Plan:
    return replace(usual, failure=failure_of(text))


COMMANDS: Final = {
    "help": Command(usage="", does="lists the commands", plan=_help),
    "history": Command(usage="", does="lists the messages of the conversation that the demo is shown", plan=history),
    "context": Command(usage="", does="repeats the instruction and the context of the session", plan=_context),
    "say": Command(usage="TEXT", does="answers with this text alone", plan=_say),
    "think": Command(usage="[TEXT]", does="shows reasoning before the answer", plan=_think),
    "call": Command(usage="TOOL [{…}]", does="calls this tool, with these arguments", plan=_call),
    "long": Command(usage="[N]", does="writes N tokens, 500 by default", plan=_long),
    "loop": Command(usage="", does="writes until it is stopped or a limit is reached", plan=_loop),
    "slow": Command(usage="[SECONDS]", does="writes a token every SECONDS, 1 by default", plan=_slow),
    "wait": Command(usage="[SECONDS]", does="reads for SECONDS before it answers, 5 by default", plan=_wait),
    "refuse": Command(usage="", does="declines to answer", plan=_refuse),
    "filter": Command(usage="", does="ends as an answer that a provider withholds", plan=_filter),
    "fail": Command(
        usage="[KIND] [SECONDS] [after N tokens] [once]",
        does="fails, with `once` only the first of two equal calls, for example /fail unavailable or /fail after 3 "
        "tokens",
        plan=_fail,
    ),
}
"""The commands by name."""


def lines() -> Iterator[str]:
    """The tokens of a text without an end."""
    for number in itertools.count(1):
        yield from tokens_of(f"Line {number} of the demo, which only fills the page.\n")


def _saying(usual: Plan, text: str) -> Plan:
    return replace(usual, tokens=tokens_of(text), opening=None)


def _number(text: str, default: float, most: float) -> float:
    try:
        number = float(text.split()[0]) if text else default
    except ValueError:
        number = -1
    if not 0 <= number <= most:
        raise BadCommand(f"found {quoted(text, 40)}, expected a number from 0 to {most:g}")
    return number
