import datetime

from contextprotocol.v1 import errors_pb2 as _errors_pb2
from contextprotocol.v1 import generation_pb2 as _generation_pb2
from contextprotocol.v1 import message_pb2 as _message_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TurnState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TURN_STATE_UNSPECIFIED: _ClassVar[TurnState]
    TURN_STATE_QUEUED: _ClassVar[TurnState]
    TURN_STATE_RUNNING: _ClassVar[TurnState]
    TURN_STATE_SUCCEEDED: _ClassVar[TurnState]
    TURN_STATE_FAILED: _ClassVar[TurnState]
    TURN_STATE_CANCELLED: _ClassVar[TurnState]
    TURN_STATE_INTERRUPTED: _ClassVar[TurnState]
TURN_STATE_UNSPECIFIED: TurnState
TURN_STATE_QUEUED: TurnState
TURN_STATE_RUNNING: TurnState
TURN_STATE_SUCCEEDED: TurnState
TURN_STATE_FAILED: TurnState
TURN_STATE_CANCELLED: TurnState
TURN_STATE_INTERRUPTED: TurnState

class Turn(_message.Message):
    __slots__ = ("name", "state", "request_id", "create_time", "start_time", "end_time", "message", "finish_reason", "usage", "window", "error", "attempts", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: TurnState
    request_id: str
    create_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    message: _message_pb2.Message
    finish_reason: _message_pb2.FinishReason
    usage: _message_pb2.Usage
    window: Window
    error: TurnError
    attempts: _containers.RepeatedCompositeFieldContainer[Attempt]
    labels: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., state: _Optional[_Union[TurnState, str]] = ..., request_id: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., message: _Optional[_Union[_message_pb2.Message, _Mapping]] = ..., finish_reason: _Optional[_Union[_message_pb2.FinishReason, str]] = ..., usage: _Optional[_Union[_message_pb2.Usage, _Mapping]] = ..., window: _Optional[_Union[Window, _Mapping]] = ..., error: _Optional[_Union[TurnError, _Mapping]] = ..., attempts: _Optional[_Iterable[_Union[Attempt, _Mapping]]] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Window(_message.Message):
    __slots__ = ("first_message", "used_messages", "dropped_messages", "input_tokens")
    FIRST_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    USED_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    DROPPED_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    first_message: int
    used_messages: int
    dropped_messages: int
    input_tokens: int
    def __init__(self, first_message: _Optional[int] = ..., used_messages: _Optional[int] = ..., dropped_messages: _Optional[int] = ..., input_tokens: _Optional[int] = ...) -> None: ...

class TurnError(_message.Message):
    __slots__ = ("code", "reason", "message", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    code: int
    reason: _errors_pb2.ErrorReason
    message: str
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, code: _Optional[int] = ..., reason: _Optional[_Union[_errors_pb2.ErrorReason, str]] = ..., message: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Attempt(_message.Message):
    __slots__ = ("provider", "model", "start_time", "time_to_first_token", "duration", "usage", "delivered_tokens", "cost_nanos", "currency", "outcome", "error")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    TIME_TO_FIRST_TOKEN_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COST_NANOS_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    provider: str
    model: str
    start_time: _timestamp_pb2.Timestamp
    time_to_first_token: _duration_pb2.Duration
    duration: _duration_pb2.Duration
    usage: _message_pb2.Usage
    delivered_tokens: int
    cost_nanos: int
    currency: str
    outcome: TurnState
    error: TurnError
    def __init__(self, provider: _Optional[str] = ..., model: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., time_to_first_token: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., usage: _Optional[_Union[_message_pb2.Usage, _Mapping]] = ..., delivered_tokens: _Optional[int] = ..., cost_nanos: _Optional[int] = ..., currency: _Optional[str] = ..., outcome: _Optional[_Union[TurnState, str]] = ..., error: _Optional[_Union[TurnError, _Mapping]] = ...) -> None: ...

class TurnEvent(_message.Message):
    __slots__ = ("sequence", "queued", "started", "part_started", "delta", "switched", "heartbeat", "completed")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    PART_STARTED_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    SWITCHED_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    queued: TurnQueued
    started: TurnStarted
    part_started: PartStarted
    delta: Delta
    switched: AttemptSwitched
    heartbeat: Heartbeat
    completed: TurnCompleted
    def __init__(self, sequence: _Optional[int] = ..., queued: _Optional[_Union[TurnQueued, _Mapping]] = ..., started: _Optional[_Union[TurnStarted, _Mapping]] = ..., part_started: _Optional[_Union[PartStarted, _Mapping]] = ..., delta: _Optional[_Union[Delta, _Mapping]] = ..., switched: _Optional[_Union[AttemptSwitched, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., completed: _Optional[_Union[TurnCompleted, _Mapping]] = ...) -> None: ...

class TurnQueued(_message.Message):
    __slots__ = ("turn", "position")
    TURN_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    turn: str
    position: int
    def __init__(self, turn: _Optional[str] = ..., position: _Optional[int] = ...) -> None: ...

class TurnStarted(_message.Message):
    __slots__ = ("turn", "model", "provider", "window", "session_etag")
    TURN_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    SESSION_ETAG_FIELD_NUMBER: _ClassVar[int]
    turn: str
    model: str
    provider: str
    window: Window
    session_etag: str
    def __init__(self, turn: _Optional[str] = ..., model: _Optional[str] = ..., provider: _Optional[str] = ..., window: _Optional[_Union[Window, _Mapping]] = ..., session_etag: _Optional[str] = ...) -> None: ...

class PartStarted(_message.Message):
    __slots__ = ("part", "kind", "tool_call_id", "tool_name")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[PartStarted.Kind]
        KIND_TEXT: _ClassVar[PartStarted.Kind]
        KIND_REASONING: _ClassVar[PartStarted.Kind]
        KIND_REFUSAL: _ClassVar[PartStarted.Kind]
        KIND_TOOL_CALL: _ClassVar[PartStarted.Kind]
        KIND_BLOB: _ClassVar[PartStarted.Kind]
        KIND_PROVIDER_STATE: _ClassVar[PartStarted.Kind]
    KIND_UNSPECIFIED: PartStarted.Kind
    KIND_TEXT: PartStarted.Kind
    KIND_REASONING: PartStarted.Kind
    KIND_REFUSAL: PartStarted.Kind
    KIND_TOOL_CALL: PartStarted.Kind
    KIND_BLOB: PartStarted.Kind
    KIND_PROVIDER_STATE: PartStarted.Kind
    PART_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALL_ID_FIELD_NUMBER: _ClassVar[int]
    TOOL_NAME_FIELD_NUMBER: _ClassVar[int]
    part: int
    kind: PartStarted.Kind
    tool_call_id: str
    tool_name: str
    def __init__(self, part: _Optional[int] = ..., kind: _Optional[_Union[PartStarted.Kind, str]] = ..., tool_call_id: _Optional[str] = ..., tool_name: _Optional[str] = ...) -> None: ...

class Delta(_message.Message):
    __slots__ = ("part", "text", "reasoning", "tool_arguments", "logprobs", "provider_state")
    PART_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    REASONING_FIELD_NUMBER: _ClassVar[int]
    TOOL_ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_STATE_FIELD_NUMBER: _ClassVar[int]
    part: int
    text: str
    reasoning: str
    tool_arguments: str
    logprobs: _containers.RepeatedCompositeFieldContainer[_generation_pb2.Logprob]
    provider_state: _message_pb2.ProviderState
    def __init__(self, part: _Optional[int] = ..., text: _Optional[str] = ..., reasoning: _Optional[str] = ..., tool_arguments: _Optional[str] = ..., logprobs: _Optional[_Iterable[_Union[_generation_pb2.Logprob, _Mapping]]] = ..., provider_state: _Optional[_Union[_message_pb2.ProviderState, _Mapping]] = ...) -> None: ...

class AttemptSwitched(_message.Message):
    __slots__ = ("from_model", "to_model", "reason", "window", "mode")
    class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        MODE_UNSPECIFIED: _ClassVar[AttemptSwitched.Mode]
        MODE_RESTARTED: _ClassVar[AttemptSwitched.Mode]
        MODE_CONTINUED: _ClassVar[AttemptSwitched.Mode]
    MODE_UNSPECIFIED: AttemptSwitched.Mode
    MODE_RESTARTED: AttemptSwitched.Mode
    MODE_CONTINUED: AttemptSwitched.Mode
    FROM_MODEL_FIELD_NUMBER: _ClassVar[int]
    TO_MODEL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    from_model: str
    to_model: str
    reason: _errors_pb2.ErrorReason
    window: Window
    mode: AttemptSwitched.Mode
    def __init__(self, from_model: _Optional[str] = ..., to_model: _Optional[str] = ..., reason: _Optional[_Union[_errors_pb2.ErrorReason, str]] = ..., window: _Optional[_Union[Window, _Mapping]] = ..., mode: _Optional[_Union[AttemptSwitched.Mode, str]] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TurnCompleted(_message.Message):
    __slots__ = ("message", "finish_reason", "usage", "attempts", "session_etag", "time_to_first_token", "duration")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    SESSION_ETAG_FIELD_NUMBER: _ClassVar[int]
    TIME_TO_FIRST_TOKEN_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    message: _message_pb2.Message
    finish_reason: _message_pb2.FinishReason
    usage: _message_pb2.Usage
    attempts: _containers.RepeatedCompositeFieldContainer[Attempt]
    session_etag: str
    time_to_first_token: _duration_pb2.Duration
    duration: _duration_pb2.Duration
    def __init__(self, message: _Optional[_Union[_message_pb2.Message, _Mapping]] = ..., finish_reason: _Optional[_Union[_message_pb2.FinishReason, str]] = ..., usage: _Optional[_Union[_message_pb2.Usage, _Mapping]] = ..., attempts: _Optional[_Iterable[_Union[Attempt, _Mapping]]] = ..., session_etag: _Optional[str] = ..., time_to_first_token: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GetTurnRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListTurnsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListTurnsResponse(_message.Message):
    __slots__ = ("turns", "next_page_token")
    TURNS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    turns: _containers.RepeatedCompositeFieldContainer[Turn]
    next_page_token: str
    def __init__(self, turns: _Optional[_Iterable[_Union[Turn, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class StreamTurnRequest(_message.Message):
    __slots__ = ("name", "after_sequence")
    NAME_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    after_sequence: int
    def __init__(self, name: _Optional[str] = ..., after_sequence: _Optional[int] = ...) -> None: ...

class CancelTurnRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...
