"""The kinds of turns: chats and completions. Each says what the model is shown and what its answer changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import msgspec

from mcp_server import rules
from mcp_server.errors import UnsupportedByModel
from mcp_server.interfaces import ContextType, GenerateRequest
from mcp_server.models.circuit import CallKind
from mcp_server.models.target import Target
from mcp_server.token_estimates import tokens_of_messages, tokens_of_text, tokens_of_tools
from mcp_server.turns.history import History
from mcp_server.turns.options import TurnOptions
from mcp_server.turns.tools import call_ids, for_provider
from mcp_server.turns.window import context_text, select, system_messages
from mcp_server.values import (
    Blob,
    ContextEntry,
    MCPSession,
    Message,
    ResponseFormat,
    Role,
    Struct,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Window,
)

replace = msgspec.structs.replace


class Conversation(Struct):
    """The session of a turn as it was claimed."""

    session: MCPSession | None = None
    """The session; ``None`` for a turn without one."""
    history: History | None = None
    """Its history, if the turn reads it."""


class Prompt(Struct):
    """What a model is asked."""

    request: GenerateRequest
    """The question."""
    window: Window = Window()
    """The part of the history in it."""
    call_ids: frozenset[str] = frozenset()
    """The ids of the tool calls of the conversation: those of the answer must be others."""


class Outcome(Struct):
    """What a turn that succeeded changes in its session."""

    messages: tuple[Message, ...] = ()
    """Messages for the end of the history; the last one is the answer."""
    save_as: Mapping[str, ContextEntry] = {}
    """Entries for the context."""
    passing_tokens: int = 0
    """About how many tokens of the prompt the next one does not begin with."""


class ChatInput(Struct):
    """One chat."""

    service: ClassVar[CallKind] = "chat"
    reads_history: ClassVar[bool] = True

    options: TurnOptions
    """The options of the turn."""
    messages: tuple[Message, ...]
    """The new input; without a session, the whole conversation."""
    tools: tuple[Tool, ...] = ()
    """What the model may call."""
    tool_choice: ToolChoice = ToolChoice()
    """Whether it must call one."""
    truncate: bool = True
    """Whether old exchanges may be left out."""
    instruction: str = ""
    """Precedes the conversation in the prompt of this turn alone, after the instruction and the context of the session.
    It is not stored."""

    @property
    def content(self) -> Sequence[Message]:
        """What is asked."""
        return self.messages

    def violations(self) -> rules.Violations:
        """What is wrong with the request."""
        found = rules.Violations()
        self.options.check(found)
        rules.tools(found, self.tools)
        rules.tool_choice(found, self.tool_choice, self.tools)
        rules.chat_messages(found, self.messages, in_session=bool(self.options.session))
        rules.instruction(found, "instruction", self.instruction)
        return found

    def count_violations(self) -> rules.Violations:
        """What is wrong with the request if it is only counted: it may end with an answer and, in a session, be
        empty."""
        found = rules.Violations()
        self.options.check(found)
        rules.tools(found, self.tools)
        if self.messages or not self.options.session:
            rules.messages(found, self.messages, in_session=bool(self.options.session))
        rules.instruction(found, "instruction", self.instruction)
        return found

    def needs(self) -> list[str]:
        """The capabilities that a model must have."""
        needs = ["chat", *_needs_of(self.messages)]
        if self.tools and "tools" not in needs:
            needs.append("tools")
        return _with_format(needs, self.options)

    def estimate_tokens(self) -> int:
        """About how many tokens the input has."""
        tokens = sum(tokens_of_messages(self.messages)) + tokens_of_tools(self.tools)
        return tokens + tokens_of_text(self.instruction)

    async def build_prompt(
        self,
        conversation: Conversation,
        target: Target,
        context_types: Mapping[str, ContextType],
        beginning: Message | None,
        *,
        must_fit: bool = True,
    ) -> Prompt:
        """What the model is shown.

        Args:
            conversation: the session.
            target: the model.
            context_types: renders the session's context.
            beginning: the beginning of the answer that the model is to continue.
            must_fit: whether to refuse what does not fit the model, even without old exchanges.

        Raises:
            ToolResultsMissing: open tool calls are not answered.
            InvalidArgument: the input has a result of no call.
            ContextTooLong: it does not fit the model.
            UnsupportedByModel: the history needs what the model cannot do.
        """
        session, provider = conversation.session, target.provider_name
        window = target.model.context_window
        history: tuple[Message, ...] = ()
        message_count = 0
        if conversation.history is not None:
            history = await conversation.history.read(window)
            message_count = conversation.history.message_count
        if self.messages:  # else only the history is counted
            rules.check_tool_results(rules.open_calls(history), self.messages, complete=True)
        request = GenerateRequest(
            model=target.model.name,
            config=self.options.config,
            tools=self.tools,
            tool_choice=self.tool_choice,
            provider_options=self.options.provider_options,
        )
        counter = target.token_counter

        async def count(messages: Sequence[Message]) -> int:
            assert counter is not None
            return await counter.count_tokens(replace(request, messages=for_provider(messages, provider, self.tools)))

        selection = await select(
            system=system_messages(session, context_types, self.instruction),
            history=history,
            message_count=message_count,
            new=self.messages if beginning is None else (*self.messages, beginning),
            context_window=window,
            answer_tokens=self.options.config.max_output_tokens,
            truncate=self.truncate,
            count=count if counter is not None else None,
            tools=self.tools,
            must_fit=must_fit,
        )
        messages = for_provider(selection.messages, provider, self.tools)
        if lacking := target.lacks(_needs_of(messages)):
            raise UnsupportedByModel(
                f"the model {target.name} does not support {lacking}, which the history needs: choose another model; "
                "ListModels lists the capabilities of each",
                metadata={"model": target.name, "capability": lacking},
            )
        return Prompt(
            request=replace(request, messages=messages),
            window=selection.window,
            call_ids=call_ids((*history, *self.messages)),
        )

    def outcome(self, answer: Message) -> Outcome:
        """What the answer changes: the exchange goes into the history."""
        return Outcome(messages=(*self.messages, answer), passing_tokens=tokens_of_text(self.instruction))


class CompletionInput(Struct):
    """One completion."""

    service: ClassVar[CallKind] = "completion"
    reads_history: ClassVar[bool] = False

    options: TurnOptions
    """The options of the turn."""
    prompt: str
    """The text to continue."""
    suffix: str = ""
    """The text that follows what is to be written."""
    include_context: bool = False
    """Put the session's context before the prompt."""
    save_as: str = ""
    """The name of the context entry that the answer becomes, or empty."""

    @property
    def content(self) -> Sequence[Message]:
        """What is asked, as a message."""
        return (Message(role=Role.USER, parts=(Text(text=self.prompt),)),)

    def violations(self) -> rules.Violations:
        """What is wrong with the request."""
        found = rules.Violations()
        self.options.check(found)
        rules.completion(
            found,
            prompt=self.prompt,
            suffix=self.suffix,
            session=self.options.session,
            include_context=self.include_context,
            save_as=self.save_as,
            commit=self.options.commit,
        )
        return found

    def needs(self) -> list[str]:
        """The capabilities that a model must have."""
        return _with_format(["completion"], self.options)

    def estimate_tokens(self) -> int:
        """About how many tokens the input has."""
        return tokens_of_text(self.prompt) + tokens_of_text(self.suffix)

    async def build_prompt(
        self,
        conversation: Conversation,
        target: Target,
        context_types: Mapping[str, ContextType],
        beginning: Message | None,
    ) -> Prompt:
        """What the model is shown, as :meth:`ChatInput.build_prompt`."""
        text = self.prompt
        if self.include_context and conversation.session is not None:
            context = context_text(conversation.session, context_types)
            text = f"{context}\n\n{text}" if context else text
        if beginning is not None:
            text += beginning.text
        request = GenerateRequest(
            model=target.model.name,
            prompt=text,
            suffix=self.suffix,
            config=self.options.config,
            provider_options=self.options.provider_options,
        )
        return Prompt(request=request, window=Window(input_tokens=tokens_of_text(text)))

    def outcome(self, answer: Message) -> Outcome:
        """What the answer changes: it may become an entry of the context."""
        if not self.save_as:
            return Outcome()
        return Outcome(save_as={self.save_as: ContextEntry(type="text", kind="text", text=answer.text)})


def _with_format(needs: list[str], options: TurnOptions) -> list[str]:
    if options.config.response_format is ResponseFormat.JSON_SCHEMA:
        needs.append("json_schema")
    return needs


def _needs_of(messages: tuple[Message, ...]) -> list[str]:
    """The capabilities that a model needs to read the messages."""
    needs: list[str] = []
    for message in messages:
        for part in message.parts:
            if type(part) is Text:
                continue
            if isinstance(part, Blob):
                need = "images"
            elif isinstance(part, ToolCall | ToolResult):
                need = "tools"
            else:
                continue
            if need not in needs:
                needs.append(need)
    return needs
