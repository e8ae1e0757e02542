import datetime

from contextprotocol.v1 import generation_pb2 as _generation_pb2
from contextprotocol.v1 import turn_pb2 as _turn_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CompleteRequest(_message.Message):
    __slots__ = ("session", "prompt", "suffix", "model", "config", "include_context", "save_as", "request_id", "after_sequence", "etag", "if_busy", "on_disconnect", "timeout", "provider_options", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SESSION_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    SUFFIX_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    SAVE_AS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    IF_BUSY_FIELD_NUMBER: _ClassVar[int]
    ON_DISCONNECT_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    session: str
    prompt: str
    suffix: str
    model: str
    config: _generation_pb2.GenerationConfig
    include_context: bool
    save_as: str
    request_id: str
    after_sequence: int
    etag: str
    if_busy: _generation_pb2.IfBusy
    on_disconnect: _generation_pb2.OnDisconnect
    timeout: _duration_pb2.Duration
    provider_options: _struct_pb2.Struct
    labels: _containers.ScalarMap[str, str]
    def __init__(self, session: _Optional[str] = ..., prompt: _Optional[str] = ..., suffix: _Optional[str] = ..., model: _Optional[str] = ..., config: _Optional[_Union[_generation_pb2.GenerationConfig, _Mapping]] = ..., include_context: _Optional[bool] = ..., save_as: _Optional[str] = ..., request_id: _Optional[str] = ..., after_sequence: _Optional[int] = ..., etag: _Optional[str] = ..., if_busy: _Optional[_Union[_generation_pb2.IfBusy, str]] = ..., on_disconnect: _Optional[_Union[_generation_pb2.OnDisconnect, str]] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., provider_options: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class CompleteResponse(_message.Message):
    __slots__ = ("turn", "completed")
    TURN_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    turn: str
    completed: _turn_pb2.TurnCompleted
    def __init__(self, turn: _Optional[str] = ..., completed: _Optional[_Union[_turn_pb2.TurnCompleted, _Mapping]] = ...) -> None: ...
