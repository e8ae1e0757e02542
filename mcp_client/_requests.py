"""From plain arguments to requests on the wire. What cannot be sent is named before anything is sent."""

from __future__ import annotations

import json as jsonlib
import secrets
from collections.abc import Mapping, Sequence, Set
from typing import Any, Final, TypedDict

from contextprotocol.v1 import (
    chat_pb2,
    completion_pb2,
    context_pb2,
    embedding_pb2,
    generation_pb2,
    message_pb2,
    model_pb2,
    session_pb2,
    turn_pb2,
)
from mcp_client._arguments import Seconds, Unset, argument, chosen, duration, fill_json, struct
from mcp_client._messages import (
    Blob,
    ContextEntry,
    Message,
    Part,
    Reasoning,
    Refusal,
    Role,
    Session,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)

Input = str | Message | Sequence[str | Message]
"""What can be said: a text, a message, or several of them. A text is a USER message."""
Context = Mapping[str, "ContextEntry | str"]
"""Context entries by name; a text is one of the type ``text``."""

MAX_REQUEST_ID: Final = 128
"""Characters."""
MAX_BATCH_BYTES: Final = 8 * 1024 * 1024
"""Of texts to embed in one request."""


class TurnOptions(TypedDict, total=False):
    """What every call that asks a model takes. What is left out is left to the model's or the server's default."""

    model: str | None
    """An alias or ``provider/model``; by default the session's, then the server's."""
    temperature: float | None
    """0 to 2; 0 is greedy."""
    top_p: float | None
    """Sample only from the likeliest tokens that make up this share: above 0, to 1."""
    max_output_tokens: int | None
    """The longest answer."""
    stop: str | Sequence[str] | None
    """The answer ends before the first of these."""
    seed: int | None
    """Makes sampling repeatable where the provider can."""
    frequency_penalty: float | None
    """-2 to 2."""
    presence_penalty: float | None
    """-2 to 2."""
    logprobs: int | None
    """How many likely tokens to report at each position; they come with the events of a stream."""
    json: bool
    """The answer is a JSON object."""
    json_schema: str | Mapping[str, Any] | None
    """The answer fits this JSON Schema; given as JSON text, it stays as it is written."""
    etag: str | None
    """The session must still have this etag."""
    turn_timeout: Seconds | None
    """Seconds that the turn may take at the server, waiting included."""
    request_id: str | None
    """A key of your own that makes the turn free to retry, also from another process: 1 to 128 printable ASCII
    characters. By default the client makes a random one for each call."""
    if_busy: str | None
    """What happens if a turn runs on the session: ``"reject"``, the default, raises :class:`SessionBusy`; ``"queue"``
    waits; ``"cancel_running"`` stops that turn and goes ahead."""
    on_disconnect: str | None
    """What happens to the turn when its last reader is gone: ``"cancel_after_grace"``, the default, ``"cancel"``, or
    ``"continue"``."""
    provider_options: Mapping[str, Any] | None
    """Passed on to the provider as they are."""


_KNOBS: Final = (
    "temperature",
    "top_p",
    "max_output_tokens",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "logprobs",
)


_TRUNCATIONS: Final = {
    "auto": generation_pb2.TRUNCATION_AUTO,
    "disabled": generation_pb2.TRUNCATION_DISABLED,
}
_TOOL_MODES: Final = {
    "auto": generation_pb2.ToolChoice.MODE_AUTO,
    "none": generation_pb2.ToolChoice.MODE_NONE,
    "required": generation_pb2.ToolChoice.MODE_REQUIRED,
}
_IF_BUSY: Final = {
    "reject": generation_pb2.IF_BUSY_REJECT,
    "queue": generation_pb2.IF_BUSY_QUEUE,
    "cancel_running": generation_pb2.IF_BUSY_CANCEL_RUNNING,
}
_ON_DISCONNECT: Final = {
    "cancel_after_grace": generation_pb2.ON_DISCONNECT_CANCEL_AFTER_GRACE,
    "cancel": generation_pb2.ON_DISCONNECT_CANCEL,
    "continue": generation_pb2.ON_DISCONNECT_CONTINUE,
}


_RANDOM_KEY: Final = "auto-"
"""What a key for retries begins with that nobody else can know."""


_ROLES: Final = {
    Role.SYSTEM: message_pb2.ROLE_SYSTEM,
    Role.USER: message_pb2.ROLE_USER,
    Role.ASSISTANT: message_pb2.ROLE_ASSISTANT,
    Role.TOOL: message_pb2.ROLE_TOOL,
}


def _set_request_id(request: Any, request_id: str | None) -> None:
    """Give a request the key that makes it free to retry: the caller's, or a random one."""
    with argument("request_id"):
        request.request_id = request_id or f"{_RANDOM_KEY}{secrets.token_hex(16)}"


def may_be_shared(request: Any) -> bool:
    """Whether somebody else may have made the same call: its key is the caller's own."""
    return not request.request_id.startswith(_RANDOM_KEY)


def session_name(session: str | Session) -> str:
    """``sessions/{id}`` of an id, a full name or a session."""
    if isinstance(session, Session):
        return session.name
    with argument("session"):
        if not isinstance(session, str):
            raise TypeError(f"expected the id of a session, its name or a Session, not {type(session).__name__}")
        session.encode()
    return session if session.startswith("sessions/") else f"sessions/{session}"


def turn_name(turn: str | Turn) -> str:
    """The full name of a turn."""
    if isinstance(turn, Turn):
        return turn.name
    with argument("turn"):
        if not isinstance(turn, str):
            raise TypeError(f"expected the full name of a turn or a Turn, not {type(turn).__name__}")
        turn.encode()
    return turn


def said(given: Input) -> list[Message]:
    """What can be said, as messages."""
    with argument("messages"):
        if isinstance(given, Mapping | Set):
            raise TypeError(f"expected a text, a Message or a sequence of them, not {type(given).__name__}")
        several = [given] if isinstance(given, str | Message) else given
        return [Message.user(item) if isinstance(item, str) else item for item in several]


def messages(given: Input) -> list[message_pb2.Message]:
    """The same as it is sent."""
    several = said(given)
    with argument("messages"):
        return [_message(item) for item in several]


def _message(message: Message) -> message_pb2.Message:
    if not isinstance(message, Message):
        raise TypeError(f"expected a text or a Message, not {type(message).__name__}")
    role = _ROLES.get(message.role)
    if role is None:
        raise ValueError(f"{message.role!r} is no role; {', '.join(_ROLES)} are")
    parts = [_part(part) for part in message.parts]
    return message_pb2.Message(role=role, parts=parts, name=message.name)


def _part(part: Part) -> message_pb2.Part:
    if isinstance(part, Text):
        return message_pb2.Part(text=part.text)
    if isinstance(part, Reasoning):
        return message_pb2.Part(reasoning=part.text)
    if isinstance(part, Refusal):
        return message_pb2.Part(refusal=part.text)
    if isinstance(part, Blob):
        if part.uri and part.data:
            raise ValueError("a Blob has `data` or `uri`, not both")
        if part.uri:
            return message_pb2.Part(blob=message_pb2.Blob(mime_type=part.mime_type, uri=part.uri))
        return message_pb2.Part(blob=message_pb2.Blob(mime_type=part.mime_type, data=part.data))
    if isinstance(part, ToolCall):
        call = message_pb2.ToolCall(id=part.id, name=part.name, arguments_json=part.arguments_json)
        return message_pb2.Part(tool_call=call)
    if isinstance(part, ToolResult):
        pieces = [_part(piece) for piece in part.parts]
        result = message_pb2.ToolResult(tool_call_id=part.tool_call_id, parts=pieces, is_error=part.is_error)
        return message_pb2.Part(tool_result=result)
    raise TypeError(f"{type(part).__name__} is no part of a message")


def _context_entry(entry: ContextEntry | str) -> context_pb2.ContextEntry:
    if isinstance(entry, str):
        entry = ContextEntry(text=entry)
    if sum(value is not None for value in (entry.text, entry.json, entry.data)) > 1:
        raise ValueError("a ContextEntry has one of `text`, `json` and `data`")
    result = context_pb2.ContextEntry(type=entry.type)
    if entry.stored_only:
        result.visibility = context_pb2.ContextEntry.VISIBILITY_STORED
    if entry.text is not None:
        result.text = entry.text
    elif entry.data is not None:
        result.data.mime_type = entry.mime_type
        result.data.content = entry.data
    else:
        fill_json(result.json, entry.json, 1)
    return result


def context(name: str, entries: Context) -> dict[str, context_pb2.ContextEntry]:
    """Context entries."""
    result = {}
    with argument(name):
        given = entries.items()
    for key, entry in given:
        with argument(f"{name}[{key!r}]"):
            key.encode()
            result[key] = _context_entry(entry)
    return result


def create_session(
    *,
    session_id: str,
    labels: Mapping[str, str],
    metadata: Mapping[str, Any],
    system_instruction: str,
    default_model: str,
    context_entries: Context,
    ttl: Seconds | None,
    request_id: str,
) -> session_pb2.CreateSessionRequest:
    """A new session."""
    request = session_pb2.CreateSessionRequest()
    _set_request_id(request, request_id)
    with argument("session_id"):
        request.session_id = session_id
    session = request.session
    with argument("labels"):
        session.labels.update(labels)
    if metadata:
        session.metadata.CopyFrom(struct("metadata", metadata))
    with argument("system_instruction"):
        session.system_instruction = system_instruction
    with argument("default_model"):
        session.default_model = default_model
    for name, entry in context("context", context_entries).items():
        session.context[name].CopyFrom(entry)
    if ttl is not None:
        session.ttl.CopyFrom(duration("ttl", ttl))
    return request


def update_session(
    session: str | Session,
    *,
    labels: Mapping[str, str] | Unset,
    metadata: Mapping[str, Any] | Unset,
    system_instruction: str | Unset,
    default_model: str | Unset,
    ttl: Seconds | Unset | None,
    context_entries: Context | Unset,
    set_context: Context,
    remove_context: Sequence[str],
    etag: str,
) -> session_pb2.UpdateSessionRequest:
    """A change to a session: only what is given."""
    request = session_pb2.UpdateSessionRequest()
    target, paths = request.session, request.update_mask.paths
    target.name = session_name(session)
    with argument("etag"):
        target.etag = etag
    if not isinstance(labels, Unset):
        paths.append("labels")
        with argument("labels"):
            target.labels.update(labels)
    if not isinstance(metadata, Unset):
        paths.append("metadata")
        target.metadata.CopyFrom(struct("metadata", metadata))
    if not isinstance(system_instruction, Unset):
        paths.append("system_instruction")
        with argument("system_instruction"):
            target.system_instruction = system_instruction
    if not isinstance(default_model, Unset):
        paths.append("default_model")
        with argument("default_model"):
            target.default_model = default_model
    if not isinstance(ttl, Unset):
        paths.append("ttl")
        if ttl is not None:
            target.ttl.CopyFrom(duration("ttl", ttl))
    if not isinstance(context_entries, Unset):
        paths.append("context")
        for name, entry in context("context", context_entries).items():
            target.context[name].CopyFrom(entry)
    for name, entry in context("set_context", set_context).items():
        request.set_context[name].CopyFrom(entry)
    with argument("remove_context"):
        request.remove_context.extend([remove_context] if isinstance(remove_context, str) else remove_context)
    return request


def delete_session(session: str | Session, etag: str) -> session_pb2.DeleteSessionRequest:
    """A session to delete."""
    with argument("etag"):
        return session_pb2.DeleteSessionRequest(name=session_name(session), etag=etag)


def fork_session(
    session: str | Session, *, session_id: str, message_count: int | None, request_id: str
) -> session_pb2.ForkSessionRequest:
    """A session to branch off."""
    request = session_pb2.ForkSessionRequest(name=session_name(session))
    with argument("session_id"):
        request.session_id = session_id
    if message_count is not None:
        with argument("message_count"):
            request.message_count = message_count
    _set_request_id(request, request_id)
    return request


def list_sessions(labels: Mapping[str, str], *, newest_first: bool, page_size: int) -> session_pb2.ListSessionsRequest:
    """The first page of sessions."""
    request = session_pb2.ListSessionsRequest(newest_first=newest_first)
    with argument("labels"):
        request.labels.update(labels)
    with argument("page_size"):
        request.page_size = page_size
    return request


def list_messages(session: str | Session, *, newest_first: bool, page_size: int) -> session_pb2.ListMessagesRequest:
    """The first page of messages."""
    request = session_pb2.ListMessagesRequest(parent=session_name(session), newest_first=newest_first)
    with argument("page_size"):
        request.page_size = page_size
    return request


def append_messages(
    session: str | Session, given: Input, *, etag: str, request_id: str
) -> session_pb2.AppendMessagesRequest:
    """Messages to add."""
    request = session_pb2.AppendMessagesRequest(parent=session_name(session), messages=messages(given))
    with argument("etag"):
        request.etag = etag
    _set_request_id(request, request_id)
    return request


def list_turns(session: str | Session, *, page_size: int) -> turn_pb2.ListTurnsRequest:
    """The first page of turns."""
    request = turn_pb2.ListTurnsRequest(parent=session_name(session))
    with argument("page_size"):
        request.page_size = page_size
    return request


def stream_turn(turn: str | Turn, after_sequence: int) -> turn_pb2.StreamTurnRequest:
    """A turn to watch."""
    request = turn_pb2.StreamTurnRequest(name=turn_name(turn))
    with argument("after_sequence"):
        request.after_sequence = after_sequence
    return request


def get_model(model: str) -> model_pb2.GetModelRequest:
    """A model to look up."""
    with argument("model"):
        return model_pb2.GetModelRequest(name=f"models/{model.removeprefix('models/')}")


def _config(options: TurnOptions) -> generation_pb2.GenerationConfig | None:
    """The knobs; ``None`` if none is set."""
    result = generation_pb2.GenerationConfig()
    for name in _KNOBS:
        if (value := options.get(name)) is not None:
            with argument(name):
                setattr(result, name, value)
    if stop := options.get("stop"):
        with argument("stop"):
            result.stop.extend([stop] if isinstance(stop, str) else stop)
    if (schema := options.get("json_schema")) is not None:
        with argument("json_schema"):
            text = schema if isinstance(schema, str) else jsonlib.dumps(dict(schema), allow_nan=False)
            result.response_format.json_schema.schema_json = text
    elif options.get("json"):
        result.response_format.json.SetInParent()
    return result if result.ByteSize() else None


def chat(
    given: Input,
    *,
    session: str | Session | None,
    truncation: str,
    options: TurnOptions,
    tools: Sequence[Tool] = (),
    tool_choice: ToolChoice | str | None = None,
    after_sequence: int | None = None,
) -> chat_pb2.ChatRequest:
    """A chat."""
    request = chat_pb2.ChatRequest(messages=messages(given), config=_config(options))
    with argument("tools"):
        request.tools.extend([_tool(tool) for tool in tools])
    if tool_choice is not None:
        choice = ToolChoice(mode=tool_choice) if isinstance(tool_choice, str) else tool_choice
        with argument("tool_choice"):
            request.tool_choice.mode = chosen("mode", choice.mode, _TOOL_MODES)
            request.tool_choice.name = choice.name
    _turn_fields(request, session, options, after_sequence)
    request.truncation = chosen("truncation", truncation, _TRUNCATIONS)
    return request


def check_rounds(options: TurnOptions, max_rounds: int) -> None:
    """See that a conversation with tools can have so many rounds.

    Raises:
        TypeError, ValueError: it cannot; one of them would be refused when functions have already run.
    """
    _check_names(options)
    with argument("max_rounds"):
        if isinstance(max_rounds, bool) or not isinstance(max_rounds, int):
            raise TypeError(f"expected a whole number, not {max_rounds!r}")
        if max_rounds < 1:
            raise ValueError(f"expected at least 1, not {max_rounds!r}")
    with argument("request_id"):
        longest = of_round(options, max_rounds).get("request_id")
        if longest and len(longest) > MAX_REQUEST_ID:
            suffix = f".{max_rounds}"
            most = MAX_REQUEST_ID - len(suffix)
            raise ValueError(f"at most {most} characters are allowed, since the last round has it with {suffix} behind")


def of_round(options: TurnOptions, number: int) -> TurnOptions:
    """The options of one of the turns of a conversation with tools, from 0."""
    if number == 0:
        return options
    later = options.copy()
    later["etag"] = None  # the turn before has changed it
    if request_id := options.get("request_id"):
        later["request_id"] = f"{request_id}.{number}"
    return later


def _tool(tool: Tool) -> generation_pb2.Tool:
    if not isinstance(tool, Tool):
        raise TypeError(f"expected a Tool, not {type(tool).__name__}; chat_with_tools takes functions")
    schema = tool.parameters
    text = schema if isinstance(schema, str) else jsonlib.dumps(dict(schema), allow_nan=False)
    return generation_pb2.Tool(name=tool.name, description=tool.description, parameters_json=text)


def complete(
    prompt: str,
    *,
    suffix: str,
    session: str | Session | None,
    include_context: bool,
    save_as: str,
    options: TurnOptions,
    after_sequence: int | None = None,
) -> completion_pb2.CompleteRequest:
    """A completion."""
    request = completion_pb2.CompleteRequest(config=_config(options), include_context=include_context)
    for name, value in (("prompt", prompt), ("suffix", suffix), ("save_as", save_as)):
        with argument(name):
            setattr(request, name, value)
    _turn_fields(request, session, options, after_sequence)
    return request


def _check_names(options: TurnOptions) -> None:
    if unknown := options.keys() - TurnOptions.__annotations__.keys():
        raise TypeError(
            f"unknown options: {', '.join(sorted(unknown))}; known: {', '.join(TurnOptions.__annotations__)}"
        )


def _turn_fields(
    request: chat_pb2.ChatRequest | completion_pb2.CompleteRequest,
    session: str | Session | None,
    options: TurnOptions,
    after_sequence: int | None,
) -> None:
    _check_names(options)
    if session is not None:
        request.session = session_name(session)
    with argument("model"):
        request.model = options.get("model") or ""
    with argument("etag"):
        request.etag = options.get("etag") or ""
    if (turn_timeout := options.get("turn_timeout")) is not None:
        request.timeout.CopyFrom(duration("turn_timeout", turn_timeout))
    if provider_options := options.get("provider_options"):
        request.provider_options.CopyFrom(struct("provider_options", provider_options))
    _set_request_id(request, options.get("request_id"))
    if after_sequence is not None:
        with argument("after_sequence"):
            if not options.get("request_id"):
                raise ValueError("it goes on with the turn of a request_id: give that one too")
            request.after_sequence = after_sequence
    if if_busy := options.get("if_busy"):
        request.if_busy = chosen("if_busy", if_busy, _IF_BUSY)
    if on_disconnect := options.get("on_disconnect"):
        request.on_disconnect = chosen("on_disconnect", on_disconnect, _ON_DISCONNECT)


def embed(
    inputs: str | Sequence[str],
    *,
    model: str,
    session: str | Session | None,
    dimensions: int | None,
    provider_options: Mapping[str, Any],
) -> embedding_pb2.EmbedRequest:
    """A batch of texts."""
    request = embedding_pb2.EmbedRequest()
    with argument("inputs"):
        if isinstance(inputs, bytes | Mapping | Set):
            raise TypeError(f"expected a text or a sequence of texts, not {type(inputs).__name__}")
        request.inputs.extend([inputs] if isinstance(inputs, str) else inputs)
    with argument("model"):
        request.model = model
    if session is not None:
        request.session = session_name(session)
    if dimensions is not None:
        with argument("dimensions"):
            request.dimensions = dimensions
    if provider_options:
        request.provider_options.CopyFrom(struct("provider_options", provider_options))
    return request


def batch(request: embedding_pb2.EmbedRequest, first: int, size: int) -> embedding_pb2.EmbedRequest:
    """The same request for up to ``size`` of its texts from ``first`` on, and no more bytes than a server takes."""
    result = embedding_pb2.EmbedRequest(model=request.model, session=request.session)
    if request.HasField("dimensions"):
        result.dimensions = request.dimensions
    if request.HasField("provider_options"):
        result.provider_options.CopyFrom(request.provider_options)
    room = MAX_BATCH_BYTES
    for text in request.inputs[first : first + max(size, 1)]:
        room -= len(text.encode())
        if room < 0 and result.inputs:
            break
        result.inputs.append(text)
    return result
