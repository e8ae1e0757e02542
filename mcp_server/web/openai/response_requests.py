"""The requests for responses, read and converted."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Final

import msgspec

from mcp_server.gateway import ChatInput, TurnOptions
from mcp_server.rules import Violations
from mcp_server.values import Message, OnCut, OnDisconnect, Tool
from mcp_server.web.body import decode
from mcp_server.web.openai.input_items import Input
from mcp_server.web.openai.names import MessageNames, Names
from mcp_server.web.openai.response_details import details_of
from mcp_server.web.openai.response_parameters import CreateParameters, PromptParameters
from mcp_server.web.parameters import refuse_set

replace = msgspec.structs.replace

_CREATE: Final = msgspec.json.Decoder(CreateParameters)
_TOKENS: Final = msgspec.json.Decoder(PromptParameters)
NAMES: Final = Names(
    {
        "config.logprobs": "top_logprobs",
        "config.response_format.json_schema.schema_json": "text.format.schema",
        "instruction": "instructions",
        "messages": "input",
        "session.system_instruction": "input",
        "provider_options.reasoning_effort": "reasoning.effort",
        "provider_options.verbosity": "text.verbosity",
    },
    {r"tools\[(\d+)\]\.parameters_json": r"tools[\1].parameters"},
)


class View(msgspec.Struct, frozen=True, kw_only=True):
    """How a caller wants to see a response."""

    stream: bool = False
    """Whether its events are streamed."""
    background: bool = False
    """Whether it is answered at once."""
    include: tuple[str, ...] = ()
    """What its items are to contain."""
    instructions: str | None = None
    """Its instructions, which are not kept."""


class CreateRequest(msgspec.Struct, kw_only=True):
    """A request for a response."""

    view: View
    """How the caller wants to see it."""
    history: PromptParameters
    """What it continues, and nothing else of the body, which may be large."""
    found: Violations
    """What is wrong with it."""
    message_names: list[MessageNames]
    """The names of the parts of the new input."""
    session_instruction: str
    """The instruction of a session that it creates."""
    turn: ChatInput
    """Its turn, in no session."""

    @property
    def stored(self) -> bool:
        """Whether the response is kept."""
        return self.turn.options.commit

    def names(self) -> AbstractContextManager[None]:
        """Lets errors name the fields as the caller wrote them."""
        return NAMES.translating(self.message_names)

    def chat(self, session: str, message_count: int | None) -> ChatInput:
        """The turn in a session.

        Args:
            session: the id of the session, or empty.
            message_count: how long its history must be; ``None``: any length.
        """
        options = replace(self.turn.options, session=session, message_count=message_count)
        return replace(self.turn, options=options)


def read_create(data: bytes, key: str) -> CreateRequest:
    """A request of ``POST /responses``."""
    parameters = decode(_CREATE, data)
    found = Violations()
    parameters.check(found)
    given = Input(found).add(parameters.input)
    tools = parameters.offered(found)
    begins = parameters.stored and parameters.previous_response_id is None and parameters.conversation is None
    instructions = [parameters.instructions or ""]
    options = TurnOptions(
        model=parameters.model or "",
        config=parameters.config(),
        request_id=key,
        on_disconnect=OnDisconnect.CONTINUE if parameters.background else OnDisconnect.CANCEL_AFTER_GRACE,
        provider_options=parameters.provider_options(),
        labels=parameters.labels(),
        commit=parameters.stored,
        retain=parameters.stored,
        # What others may have read already cannot be taken back: another model goes on, or the answer fails.
        on_cut=OnCut.CONTINUE_OR_FAIL,
        details=_details(parameters),
    )
    return CreateRequest(
        view=View(
            stream=bool(parameters.stream),
            background=bool(parameters.background),
            include=tuple(parameters.include or ()),
            instructions=parameters.instructions,
        ),
        history=PromptParameters(
            previous_response_id=parameters.previous_response_id, conversation=parameters.conversation
        ),
        found=found,
        message_names=given.names,
        session_instruction=_joined(given.instructions) if begins else "",
        turn=ChatInput(
            options=options,
            messages=tuple(given.messages),
            tools=tools,
            tool_choice=parameters.choice(found, tools),
            truncate=parameters.truncation == "auto",
            instruction=_joined(instructions if begins else [*instructions, *given.instructions]),
        ),
    )


def _details(parameters: CreateParameters) -> dict[str, Any]:
    try:
        return details_of(parameters)
    except (msgspec.DecodeError, RecursionError):
        return {}  # a schema that is nested so deeply, or has a number of so many digits, is refused by the rules


class TokensRequest(msgspec.Struct, kw_only=True):
    """A request for the number of tokens of a prompt."""

    parameters: PromptParameters
    """Its body."""
    found: Violations
    """What is wrong with it."""
    messages: tuple[Message, ...]
    """The new input."""
    message_names: list[MessageNames]
    """The names of its parts."""
    instruction: str
    """The instruction of the turn."""
    tools: tuple[Tool, ...]
    """The tools."""

    def names(self) -> AbstractContextManager[None]:
        """As of :class:`CreateRequest`."""
        return NAMES.translating(self.message_names)


def read_tokens(data: bytes) -> TokensRequest:
    """A request of ``POST /responses/input_tokens``."""
    parameters = decode(_TOKENS, data)
    found = Violations()
    parameters.check_history(found)
    refuse_set(found, personality=parameters.personality)
    given = Input(found).add(parameters.input)
    tools = parameters.offered(found)
    parameters.choice(found, tools)
    return TokensRequest(
        parameters=parameters,
        found=found,
        messages=tuple(given.messages),
        message_names=given.names,
        instruction=_joined([parameters.instructions or "", *given.instructions]),
        tools=tools,
    )


def _joined(texts: list[str]) -> str:
    return "\n\n".join([text for text in texts if text])
