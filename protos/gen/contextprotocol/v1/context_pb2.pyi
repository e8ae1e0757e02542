from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ContextEntry(_message.Message):
    __slots__ = ("type", "text", "json", "data", "visibility")
    class Visibility(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        VISIBILITY_UNSPECIFIED: _ClassVar[ContextEntry.Visibility]
        VISIBILITY_PROMPT: _ClassVar[ContextEntry.Visibility]
        VISIBILITY_STORED: _ClassVar[ContextEntry.Visibility]
    VISIBILITY_UNSPECIFIED: ContextEntry.Visibility
    VISIBILITY_PROMPT: ContextEntry.Visibility
    VISIBILITY_STORED: ContextEntry.Visibility
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    VISIBILITY_FIELD_NUMBER: _ClassVar[int]
    type: str
    text: str
    json: _struct_pb2.Value
    data: ContextData
    visibility: ContextEntry.Visibility
    def __init__(self, type: _Optional[str] = ..., text: _Optional[str] = ..., json: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., data: _Optional[_Union[ContextData, _Mapping]] = ..., visibility: _Optional[_Union[ContextEntry.Visibility, str]] = ...) -> None: ...

class ContextData(_message.Message):
    __slots__ = ("mime_type", "content")
    MIME_TYPE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    mime_type: str
    content: bytes
    def __init__(self, mime_type: _Optional[str] = ..., content: _Optional[bytes] = ...) -> None: ...
