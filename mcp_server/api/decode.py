"""From requests on the wire to the gateway's values, every field checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from contextprotocol.v1 import (
    chat_pb2,
    completion_pb2,
    context_pb2,
    embedding_pb2,
    generation_pb2,
    message_pb2,
    session_pb2,
)
from mcp_server.api.checks import (
    CONTEXT_NAME,
    KIB,
    MAX_MESSAGE_BYTES,
    MAX_TIMEOUT,
    MAX_TTL,
    MIB,
    TOOL_NAME,
    Checks,
)
from mcp_server.gateway import ChatInput, CompletionInput, EmbedInput, TurnOptions
from mcp_server.interfaces import ContextType
from mcp_server.sessions.manager import SessionDraft, SessionUpdate
from mcp_server.values import (
    Blob,
    ContextEntry,
    GenerationConfig,
    IfBusy,
    Message,
    OnDisconnect,
    Part,
    Reasoning,
    Refusal,
    ResponseFormat,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Visibility,
)

ROLES = {
    message_pb2.ROLE_SYSTEM: Role.SYSTEM,
    message_pb2.ROLE_USER: Role.USER,
    message_pb2.ROLE_ASSISTANT: Role.ASSISTANT,
    message_pb2.ROLE_TOOL: Role.TOOL,
}
_PARTS_OF_ROLE = {
    Role.SYSTEM: ("text",),
    Role.USER: ("text", "blob"),
    Role.ASSISTANT: ("text", "reasoning", "refusal", "blob", "tool_call"),
    Role.TOOL: ("tool_result",),
}
_VISIBILITIES = {
    context_pb2.ContextEntry.VISIBILITY_UNSPECIFIED: Visibility.PROMPT,
    context_pb2.ContextEntry.VISIBILITY_PROMPT: Visibility.PROMPT,
    context_pb2.ContextEntry.VISIBILITY_STORED: Visibility.STORED,
}
_SESSION_FIELDS = ("labels", "metadata", "system_instruction", "default_model", "ttl", "context")
_IF_BUSY = {
    generation_pb2.IF_BUSY_UNSPECIFIED: IfBusy.REJECT,
    generation_pb2.IF_BUSY_REJECT: IfBusy.REJECT,
    generation_pb2.IF_BUSY_QUEUE: IfBusy.QUEUE,
    generation_pb2.IF_BUSY_CANCEL_RUNNING: IfBusy.CANCEL_RUNNING,
}
_ON_DISCONNECT = {
    generation_pb2.ON_DISCONNECT_UNSPECIFIED: OnDisconnect.CANCEL_AFTER_GRACE,
    generation_pb2.ON_DISCONNECT_CANCEL_AFTER_GRACE: OnDisconnect.CANCEL_AFTER_GRACE,
    generation_pb2.ON_DISCONNECT_CANCEL: OnDisconnect.CANCEL,
    generation_pb2.ON_DISCONNECT_CONTINUE: OnDisconnect.CONTINUE,
}
_TRUNCATION = frozenset(generation_pb2.Truncation.values())
_TOOL_CHOICES = {
    generation_pb2.ToolChoice.MODE_UNSPECIFIED: "auto",
    generation_pb2.ToolChoice.MODE_AUTO: "auto",
    generation_pb2.ToolChoice.MODE_NONE: "none",
    generation_pb2.ToolChoice.MODE_REQUIRED: "required",
}
_DEFAULT_CONFIG = GenerationConfig()
_NO_CHOICE = ToolChoice()
MAX_TOOLS = 128
"""The most tools of one request."""


# -- turns ------------------------------------------------------------------------------------------------------------


def chat_input(request: chat_pb2.ChatRequest, *, streams: bool) -> ChatInput:
    """A chat. Raises InvalidArgument or NotSupported."""
    with Checks() as checks:
        options = _turn_options(checks, request, streams=streams)
        tools = _tools(checks, request.tools)
        tool_choice = _NO_CHOICE
        if request.HasField("tool_choice"):
            tool_choice = _tool_choice(checks, request.tool_choice, tools)
        conversation = messages(checks, "messages", request.messages, system=not request.session)
        if conversation and conversation[-1].role not in (Role.USER, Role.TOOL):
            checks.fail(f"messages[{len(conversation) - 1}].role", "the last message must be of a USER or a TOOL")
        truncation = request.truncation
        if truncation not in _TRUNCATION:
            checks.fail("truncation", f"{truncation} is no value of Truncation")
    return ChatInput(
        options=options,
        messages=conversation,
        tools=tools,
        tool_choice=tool_choice,
        truncate=truncation != generation_pb2.TRUNCATION_DISABLED,
    )


def _tools(checks: Checks, tools: Sequence[generation_pb2.Tool]) -> tuple[Tool, ...]:
    if len(tools) > MAX_TOOLS:
        checks.fail("tools", f"{len(tools)} tools; at most {MAX_TOOLS} are allowed")
    names: set[str] = set()
    for index, tool in enumerate(tools):
        field = f"tools[{index}]"
        if not TOOL_NAME.fullmatch(tool.name):
            checks.fail(f"{field}.name", f"it must match {TOOL_NAME.pattern}")
        elif tool.name in names:
            checks.fail(f"{field}.name", f"{tool.name} is there already")
        names.add(tool.name)
        checks.text(f"{field}.description", tool.description, max_bytes=8 * KIB)
        if tool.parameters_json:
            _json_object(checks, f"{field}.parameters_json", tool.parameters_json)
    return tuple(
        [Tool(name=tool.name, description=tool.description, parameters_json=tool.parameters_json) for tool in tools]
    )


def _tool_choice(checks: Checks, choice: generation_pb2.ToolChoice, tools: Sequence[Tool]) -> ToolChoice:
    mode = _TOOL_CHOICES.get(choice.mode)
    if mode is None:
        checks.fail("tool_choice.mode", f"{choice.mode} is no value of Mode")
    elif mode == "required" and not tools:
        checks.fail("tool_choice.mode", "MODE_REQUIRED needs tools")
    if choice.name:
        if mode != "required":
            checks.fail("tool_choice.name", "it goes only with MODE_REQUIRED")
        elif choice.name not in [tool.name for tool in tools]:
            checks.fail("tool_choice.name", f"{choice.name!r} is not among the tools")
    return ToolChoice(mode=mode or "auto", name=choice.name)


def completion_input(request: completion_pb2.CompleteRequest, *, streams: bool) -> CompletionInput:
    """A completion. Raises InvalidArgument or NotSupported."""
    with Checks() as checks:
        options = _turn_options(checks, request, streams=streams)
        checks.text("prompt", request.prompt, required=True, max_bytes=MAX_MESSAGE_BYTES)
        checks.text("suffix", request.suffix, max_bytes=MAX_MESSAGE_BYTES)
        if request.include_context and not request.session:
            checks.fail("include_context", "it needs a session")
        if request.save_as:
            if not request.session:
                checks.fail("save_as", "it needs a session")
            _context_name(checks, "save_as", request.save_as)
    return CompletionInput(
        options=options,
        prompt=request.prompt,
        suffix=request.suffix,
        include_context=request.include_context,
        save_as=request.save_as,
    )


def _turn_options(
    checks: Checks, request: chat_pb2.ChatRequest | completion_pb2.CompleteRequest, *, streams: bool
) -> TurnOptions:
    after_sequence = request.after_sequence if request.HasField("after_sequence") else None
    if after_sequence is not None:
        if not streams:
            checks.fail("after_sequence", "it is for calls that stream; this one answers with the whole turn")
        elif not request.request_id:
            checks.fail("after_sequence", "it needs the request_id of the turn to resume")
    if_busy = _IF_BUSY.get(request.if_busy)
    if if_busy is None:
        checks.fail("if_busy", f"{request.if_busy} is no value of IfBusy")
        if_busy = IfBusy.REJECT
    on_disconnect = _ON_DISCONNECT.get(request.on_disconnect)
    if on_disconnect is None:
        checks.fail("on_disconnect", f"{request.on_disconnect} is no value of OnDisconnect")
        on_disconnect = OnDisconnect.CANCEL_AFTER_GRACE
    if request.etag:
        if not request.session:
            checks.fail("etag", "it needs a session")
        if if_busy is IfBusy.QUEUE:
            checks.fail("etag", "it goes not together with QUEUE: the turns that go first change the session")
    return TurnOptions(
        session=checks.session_name("session", request.session) if request.session else "",
        model=checks.model("model", request.model),
        config=_config(checks, request.config) if request.HasField("config") else _DEFAULT_CONFIG,
        request_id=checks.request_id(request.request_id) if request.request_id else "",
        after_sequence=after_sequence,
        etag=request.etag,
        if_busy=if_busy,
        on_disconnect=on_disconnect,
        timeout=(
            checks.duration("timeout", request.timeout, 1_000_000, MAX_TIMEOUT) if request.HasField("timeout") else None
        ),
        provider_options=(
            checks.struct("provider_options", request.provider_options) if request.HasField("provider_options") else {}
        ),
    )


def _config(checks: Checks, config: generation_pb2.GenerationConfig) -> GenerationConfig:
    def number(field: str, low: float, high: float, *, above: bool = False) -> float | None:
        if not config.HasField(field):
            return None
        return checks.number(f"config.{field}", getattr(config, field), low, high, above=above)

    def whole(field: str, low: int, high: int | None = None) -> int | None:
        if not config.HasField(field):
            return None
        return checks.whole(f"config.{field}", getattr(config, field), low, high)

    if len(config.stop) > 16:
        checks.fail("config.stop", f"{len(config.stop)} strings; at most 16 are allowed")
    for index, stop in enumerate(config.stop):
        checks.text(f"config.stop[{index}]", stop, required=True, max_characters=256)
    response_format, schema = ResponseFormat.TEXT, ""
    if config.HasField("response_format"):
        kind = config.response_format.WhichOneof("format")
        if kind is None:
            checks.fail("config.response_format", "no format is set")
        else:
            response_format = ResponseFormat(kind)
        if kind == "json_schema":
            schema = config.response_format.json_schema.schema_json
            _json_object(checks, "config.response_format.json_schema.schema_json", schema)
    return GenerationConfig(
        temperature=number("temperature", 0, 2),
        top_p=number("top_p", 0, 1, above=True),
        max_output_tokens=whole("max_output_tokens", 1),
        stop=tuple(config.stop),
        seed=config.seed if config.HasField("seed") else None,
        frequency_penalty=number("frequency_penalty", -2, 2),
        presence_penalty=number("presence_penalty", -2, 2),
        logprobs=whole("logprobs", 0, 20),
        response_format=response_format,
        json_schema=schema,
    )


def _json_object(checks: Checks, field: str, text: str) -> None:
    checks.text(field, text, required=True, max_bytes=64 * KIB)
    try:
        msgspec.json.decode(text or "{}", type=dict[str, Any])
    except msgspec.DecodeError as error:
        checks.fail(field, f"it is not the text of a JSON object: {error}")


# -- messages ---------------------------------------------------------------------------------------------------------


def messages(checks: Checks, field: str, given: Iterable[message_pb2.Message], *, system: bool) -> tuple[Message, ...]:
    """A conversation; ``system`` says whether SYSTEM messages may be in it."""
    result = tuple([_message(checks, f"{field}[{index}]", message, system) for index, message in enumerate(given)])
    if not 1 <= len(result) <= 1000:
        checks.fail(field, f"{len(result)} messages; 1 to 1000 are allowed")
    return result


def _message(checks: Checks, field: str, message: message_pb2.Message, system: bool) -> Message:
    role = ROLES.get(message.role)
    if role is None:
        checks.fail(f"{field}.role", "it is required" if not message.role else f"{message.role} is no value of Role")
        role = Role.USER
    elif role is Role.SYSTEM and not system:
        checks.fail(f"{field}.role", "SYSTEM is not allowed in a session: use its system_instruction")
    if (size := message.ByteSize()) > MAX_MESSAGE_BYTES:
        checks.fail(field, f"{size} bytes; at most {MAX_MESSAGE_BYTES} are allowed")
    if not 1 <= len(message.parts) <= 1000:
        checks.fail(f"{field}.parts", f"{len(message.parts)} parts; 1 to 1000 are allowed")
    allowed = _PARTS_OF_ROLE[role]
    parts = tuple(
        [_part(checks, f"{field}.parts[{index}]", part, role, allowed) for index, part in enumerate(message.parts)]
    )
    return Message(role=role, parts=parts, name=checks.text(f"{field}.name", message.name, max_characters=64))


def _part(checks: Checks, field: str, part: message_pb2.Part, role: Role, allowed: tuple[str, ...]) -> Part:
    kind = part.WhichOneof("part")
    if kind is None:
        checks.fail(field, f"no part is set; allowed here: {', '.join(allowed)}")
    elif kind not in allowed:
        checks.fail(field, f"{kind} is not allowed in a {role.name} message; allowed: {', '.join(allowed)}")
    if kind == "text":
        checks.text(f"{field}.text", part.text, required=role is not Role.ASSISTANT)
        return Text(text=part.text)
    if kind == "blob":
        return _blob(checks, f"{field}.blob", part.blob)
    if kind == "tool_call":
        call = part.tool_call
        checks.text(f"{field}.tool_call.id", call.id, required=True, max_characters=128)
        if not TOOL_NAME.fullmatch(call.name):
            checks.fail(f"{field}.tool_call.name", f"it must match {TOOL_NAME.pattern}")
        return ToolCall(id=call.id, name=call.name, arguments_json=call.arguments_json)
    if kind == "tool_result":
        result = part.tool_result
        checks.text(f"{field}.tool_result.tool_call_id", result.tool_call_id, required=True, max_characters=128)
        pieces = [
            _part(checks, f"{field}.tool_result.parts[{index}]", piece, role, ("text", "blob"))
            for index, piece in enumerate(result.parts)
        ]
        return ToolResult(
            tool_call_id=result.tool_call_id,
            parts=tuple([piece for piece in pieces if isinstance(piece, Text | Blob)]),
            is_error=result.is_error,
        )
    if kind == "refusal":
        return Refusal(text=part.refusal)
    return Reasoning(text=part.reasoning)


def _blob(checks: Checks, field: str, blob: message_pb2.Blob) -> Blob:
    _mime_type(checks, f"{field}.mime_type", blob.mime_type)
    source = blob.WhichOneof("source")
    if source is None:
        checks.fail(field, "neither data nor uri is set")
    if source == "uri":
        checks.text(f"{field}.uri", blob.uri, max_bytes=8 * KIB)
        if not blob.uri.startswith(("https://", "data:")):
            checks.fail(f"{field}.uri", "it must begin with https:// or data:")
    return Blob(mime_type=blob.mime_type, data=blob.data, uri=blob.uri)


def _mime_type(checks: Checks, field: str, mime_type: str) -> None:
    checks.text(field, mime_type, max_characters=255)
    if mime_type.count("/") != 1 or mime_type.startswith("/") or mime_type.endswith("/"):
        checks.fail(field, "it must be a MIME type such as image/png")


# -- sessions ---------------------------------------------------------------------------------------------------------


def session_draft(
    checks: Checks, session: session_pb2.Session, types: Mapping[str, ContextType], *, field: str = "session"
) -> SessionDraft:
    """What a caller decides about a session."""
    return SessionDraft(
        ttl=checks.duration(f"{field}.ttl", session.ttl, 1_000_000_000, MAX_TTL) if session.HasField("ttl") else None,
        labels=checks.labels(f"{field}.labels", session.labels),
        metadata=checks.struct(f"{field}.metadata", session.metadata),
        system_instruction=checks.text(f"{field}.system_instruction", session.system_instruction, max_bytes=256 * KIB),
        default_model=checks.model(f"{field}.default_model", session.default_model),
        context=context(checks, f"{field}.context", session.context, types),
    )


def session_update(
    request: session_pb2.UpdateSessionRequest, types: Mapping[str, ContextType]
) -> tuple[str, SessionUpdate]:
    """The id of a session and the change to it. Raises InvalidArgument."""
    with Checks() as checks:
        session_id = checks.session_name("session.name", request.session.name)
        paths = list(request.update_mask.paths)
        for path in paths:
            if path not in _SESSION_FIELDS:
                checks.fail("update_mask", f"{path!r} cannot be changed; these can: {', '.join(_SESSION_FIELDS)}")
        if "context" in paths and (request.set_context or request.remove_context):
            checks.fail("update_mask", "context goes not together with set_context or remove_context")
        if not (paths or request.set_context or request.remove_context):
            checks.fail(
                "update_mask",
                f"nothing to change: name fields ({', '.join(_SESSION_FIELDS)}), or set or remove context",
            )
        draft = session_draft(checks, request.session, types)
        added = context(checks, "set_context", request.set_context, types)
        for index, name in enumerate(request.remove_context):
            _context_name(checks, f"remove_context[{index}]", name)
    return session_id, SessionUpdate(
        fields={path: getattr(draft, path) for path in paths},
        set_context=added,
        remove_context=frozenset(request.remove_context),
        etag=request.session.etag,
    )


def context(
    checks: Checks,
    field: str,
    entries: Mapping[str, context_pb2.ContextEntry],
    types: Mapping[str, ContextType],
) -> Mapping[str, ContextEntry]:
    """Context entries, each valid by its type."""
    result = {}
    for name, entry in entries.items():
        where = f"{field}[{name[:80]!r}]"
        _context_name(checks, where, name)
        result[name] = _context_entry(checks, where, entry, types)
    return result


def _context_name(checks: Checks, field: str, name: str) -> None:
    if not CONTEXT_NAME.fullmatch(name):
        checks.fail(field, f"a name of a context entry must match {CONTEXT_NAME.pattern}")


def _context_entry(
    checks: Checks, field: str, given: context_pb2.ContextEntry, types: Mapping[str, ContextType]
) -> ContextEntry:
    kind = given.WhichOneof("value") or ""
    visibility = _VISIBILITIES.get(given.visibility)
    if visibility is None:
        checks.fail(f"{field}.visibility", f"{given.visibility} is no value of Visibility")
        visibility = Visibility.PROMPT
    if kind == "data":
        _mime_type(checks, f"{field}.data.mime_type", given.data.mime_type)
    if given.ByteSize() > MIB:
        checks.fail(field, f"{given.ByteSize()} bytes; a session's whole context may have {MIB}")
    entry = ContextEntry(
        type=given.type,
        kind=kind,
        text=given.text,
        json=checks.value(f"{field}.json", given.json) if kind == "json" else None,
        data=given.data.content,
        mime_type=given.data.mime_type,
        visibility=visibility,
    )
    context_type = types.get(given.type)
    if context_type is None:
        checks.fail(f"{field}.type", f"{given.type[:80]!r} is no known type; known: {', '.join(sorted(types))}")
    elif not kind:
        checks.fail(field, "no value is set: one of text, json and data")
    elif problem := context_type.validate(entry):
        checks.fail(field, problem)
    return entry


# -- embeddings -------------------------------------------------------------------------------------------------------


def embed_input(request: embedding_pb2.EmbedRequest) -> EmbedInput:
    """A batch of texts. Raises InvalidArgument."""
    with Checks() as checks:
        if not request.inputs:
            checks.fail("inputs", "at least one text is required")
        for index, text in enumerate(request.inputs):
            checks.text(f"inputs[{index}]", text, required=True, max_bytes=MIB)
        if request.HasField("dimensions"):
            checks.whole("dimensions", request.dimensions, 1)
        return EmbedInput(
            inputs=tuple(request.inputs),
            model=checks.model("model", request.model),
            session=checks.session_name("session", request.session) if request.session else "",
            dimensions=request.dimensions if request.HasField("dimensions") else None,
            provider_options=checks.struct("provider_options", request.provider_options),
        )
