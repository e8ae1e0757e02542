"""Server reflection, ``grpc.reflection.v1`` and ``v1alpha``: generic clients learn the contract from the server itself.

The two versions are the same messages under two names; only the older ones are published for Python, so the newer
service answers with these.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection_pb2

OLD: Final = "grpc.reflection.v1alpha"
NEW: Final = "grpc.reflection.v1"
SERVICES: Final = (f"{NEW}.ServerReflection", f"{OLD}.ServerReflection")

_Request = reflection_pb2.ServerReflectionRequest
_Response = reflection_pb2.ServerReflectionResponse


class Reflection:
    """Describes the given services and itself."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = sorted((*services, *SERVICES))
        self._pool = descriptor_pool.Default()
        # The newer version's description, made from the older one's: it exists nowhere else in Python.
        self._new_pool = descriptor_pool.DescriptorPool()
        self._new_pool.Add(_renamed(reflection_pb2.DESCRIPTOR))

    def handlers(self) -> Iterable[tuple[str, dict[str, grpc.RpcMethodHandler[Any, Any]]]]:
        """The method handlers of both services."""
        handler = grpc.stream_stream_rpc_method_handler(
            self._answer_all,
            request_deserializer=_parsed,
            response_serializer=_Response.SerializeToString,
        )
        return [(service, {"ServerReflectionInfo": handler}) for service in SERVICES]

    async def _answer_all(
        self, requests: AsyncIterator[_Request | None], context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        async for request in requests:
            if request is None:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the request cannot be decoded")
            else:
                await context.write(self._answer(request))

    def _answer(self, request: _Request) -> _Response:
        response = _Response(valid_host=request.host, original_request=request)
        kind = request.WhichOneof("message_request")
        try:
            if kind == "list_services":
                for name in self._services:
                    response.list_services_response.service.add(name=name)
            elif kind == "file_by_filename":
                self._add_file(response, self._file_by_name(request.file_by_filename))
            elif kind == "file_containing_symbol":
                self._add_file(response, self._file_of(request.file_containing_symbol))
            elif kind == "file_containing_extension":
                wanted = request.file_containing_extension
                message = self._pool.FindMessageTypeByName(wanted.containing_type)
                extension: Any = self._pool.FindExtensionByNumber(message, wanted.extension_number)
                self._add_file(response, extension.file)
            elif kind == "all_extension_numbers_of_type":
                message = self._pool.FindMessageTypeByName(request.all_extension_numbers_of_type)
                numbers = sorted(extension.number for extension in self._pool.FindAllExtensions(message))
                response.all_extension_numbers_response.base_type_name = message.full_name
                response.all_extension_numbers_response.extension_number.extend(numbers)
            else:
                _refuse(response, grpc.StatusCode.INVALID_ARGUMENT, "the request asks for nothing that is known")
        except KeyError:
            _refuse(response, grpc.StatusCode.NOT_FOUND, "there is nothing of that name")
        return response

    def _file_by_name(self, name: str) -> FileDescriptor:
        try:
            return self._pool.FindFileByName(name)
        except KeyError:
            return self._new_pool.FindFileByName(name)

    def _file_of(self, symbol: str) -> FileDescriptor:
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            return self._new_pool.FindFileContainingSymbol(symbol)

    @staticmethod
    def _add_file(response: _Response, file: FileDescriptor) -> None:
        """The file and all that it imports, each once."""
        seen: dict[str, bytes] = {}

        def add(file: FileDescriptor) -> None:
            if file.name not in seen:
                seen[file.name] = file.serialized_pb
                for dependency in file.dependencies:
                    add(dependency)

        add(file)
        response.file_descriptor_response.file_descriptor_proto.extend(seen.values())


def _renamed(file: FileDescriptor) -> descriptor_pb2.FileDescriptorProto:
    """The newer version's description."""
    new = descriptor_pb2.FileDescriptorProto.FromString(file.serialized_pb)
    new.name, new.package = new.name.replace("v1alpha", "v1"), NEW
    for message in new.message_type:
        for field in message.field:
            if field.HasField("type_name"):
                field.type_name = field.type_name.replace(OLD, NEW)
    for service in new.service:
        for method in service.method:
            method.input_type = method.input_type.replace(OLD, NEW)
            method.output_type = method.output_type.replace(OLD, NEW)
    return new


def _parsed(data: bytes) -> _Request | None:
    try:
        return _Request.FromString(data)
    except DecodeError:
        return None


def _refuse(response: _Response, code: grpc.StatusCode, message: str) -> None:
    response.error_response.error_code = code.value[0]
    response.error_response.error_message = message
