from contextprotocol.v1 import generation_pb2 as _generation_pb2
from contextprotocol.v1 import message_pb2 as _message_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Model(_message.Message):
    __slots__ = ("name", "provider", "aliases", "capabilities", "context_window", "max_batch", "embedding_dimensions", "state", "state_reason", "is_default")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Model.State]
        STATE_READY: _ClassVar[Model.State]
        STATE_LOADING: _ClassVar[Model.State]
        STATE_UNAVAILABLE: _ClassVar[Model.State]
    STATE_UNSPECIFIED: Model.State
    STATE_READY: Model.State
    STATE_LOADING: Model.State
    STATE_UNAVAILABLE: Model.State
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_WINDOW_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STATE_REASON_FIELD_NUMBER: _ClassVar[int]
    IS_DEFAULT_FIELD_NUMBER: _ClassVar[int]
    name: str
    provider: str
    aliases: _containers.RepeatedScalarFieldContainer[str]
    capabilities: ModelCapabilities
    context_window: int
    max_batch: int
    embedding_dimensions: int
    state: Model.State
    state_reason: str
    is_default: bool
    def __init__(self, name: _Optional[str] = ..., provider: _Optional[str] = ..., aliases: _Optional[_Iterable[str]] = ..., capabilities: _Optional[_Union[ModelCapabilities, _Mapping]] = ..., context_window: _Optional[int] = ..., max_batch: _Optional[int] = ..., embedding_dimensions: _Optional[int] = ..., state: _Optional[_Union[Model.State, str]] = ..., state_reason: _Optional[str] = ..., is_default: _Optional[bool] = ...) -> None: ...

class ModelCapabilities(_message.Message):
    __slots__ = ("chat", "completion", "embedding", "tools", "images", "json_schema", "prefill")
    CHAT_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    JSON_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    PREFILL_FIELD_NUMBER: _ClassVar[int]
    chat: bool
    completion: bool
    embedding: bool
    tools: bool
    images: bool
    json_schema: bool
    prefill: bool
    def __init__(self, chat: _Optional[bool] = ..., completion: _Optional[bool] = ..., embedding: _Optional[bool] = ..., tools: _Optional[bool] = ..., images: _Optional[bool] = ..., json_schema: _Optional[bool] = ..., prefill: _Optional[bool] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "next_page_token")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    next_page_token: str
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class CountTokensRequest(_message.Message):
    __slots__ = ("session", "messages", "model", "tools")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    session: str
    messages: _containers.RepeatedCompositeFieldContainer[_message_pb2.Message]
    model: str
    tools: _containers.RepeatedCompositeFieldContainer[_generation_pb2.Tool]
    def __init__(self, session: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[_message_pb2.Message, _Mapping]]] = ..., model: _Optional[str] = ..., tools: _Optional[_Iterable[_Union[_generation_pb2.Tool, _Mapping]]] = ...) -> None: ...

class CountTokensResponse(_message.Message):
    __slots__ = ("input_tokens", "exact", "model")
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    input_tokens: int
    exact: bool
    model: str
    def __init__(self, input_tokens: _Optional[int] = ..., exact: _Optional[bool] = ..., model: _Optional[str] = ...) -> None: ...
