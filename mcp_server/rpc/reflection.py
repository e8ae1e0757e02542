"""Server reflection, ``grpc.reflection.v1`` and ``v1alpha``: generic clients learn the contract from the server itself.

The two versions are the same messages under two names. Only the older ones are published for Python; the newer
version's description is made from them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection_pb2

from mcp_server.api.call import Send
from mcp_server.interfaces import Call, GRPCService

OLD: Final = "grpc.reflection.v1alpha"
NEW: Final = "grpc.reflection.v1"


def reflection_services(services: Iterable[ServiceDescriptor]) -> list[GRPCService]:
    """Both versions of the reflection service. They describe the given services and themselves."""
    new_pool = descriptor_pool.DescriptorPool()
    new_pool.Add(_renamed(reflection_pb2.DESCRIPTOR))
    both = [
        new_pool.FindServiceByName(f"{NEW}.ServerReflection"),
        reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"],
    ]
    described = {service.full_name: service for service in (*services, *both)}
    return [GRPCService(descriptor=version, implementation=Reflection(version, described)) for version in both]


class Reflection:
    """One version of ``ServerReflection``.

    Args:
        version: its own descriptor.
        services: the services to list, by their full names. Everything in the descriptor pools of their files can be
            looked up.
    """

    def __init__(self, version: ServiceDescriptor, services: Mapping[str, ServiceDescriptor]) -> None:
        self._response: Any = GetMessageClass(version.methods_by_name["ServerReflectionInfo"].output_type)
        self._services = sorted(services)
        self._pools = list(dict.fromkeys([service.file.pool for service in services.values()]))

    async def ServerReflectionInfo(self, call: Call, requests: AsyncIterator[Any], send: Send) -> None:
        async for request in requests:
            await send(self._answer(request))

    def _answer(self, request: Any) -> Any:
        response = self._response(valid_host=request.host, original_request=request)
        kind = request.WhichOneof("message_request")
        try:
            if kind == "list_services":
                for name in self._services:
                    response.list_services_response.service.add(name=name)
            elif kind == "file_by_filename":
                self._add_file(response, self._find("FindFileByName", request.file_by_filename))
            elif kind == "file_containing_symbol":
                self._add_file(response, self._find("FindFileContainingSymbol", request.file_containing_symbol))
            elif kind == "file_containing_extension":
                wanted = request.file_containing_extension
                message = self._find("FindMessageTypeByName", wanted.containing_type)
                extension = message.file.pool.FindExtensionByNumber(message, wanted.extension_number)
                self._add_file(response, extension.file)
            elif kind == "all_extension_numbers_of_type":
                message = self._find("FindMessageTypeByName", request.all_extension_numbers_of_type)
                extensions = message.file.pool.FindAllExtensions(message)
                response.all_extension_numbers_response.base_type_name = message.full_name
                response.all_extension_numbers_response.extension_number.extend(
                    sorted(extension.number for extension in extensions)
                )
            else:
                _refuse(response, grpc.StatusCode.INVALID_ARGUMENT, "the request has no message_request")
        except KeyError as error:
            _refuse(response, grpc.StatusCode.NOT_FOUND, str(error.args[0]))
        return response

    def _find(self, look_up: str, name: str) -> Any:
        for pool in self._pools:
            try:
                return getattr(pool, look_up)(name)
            except KeyError:
                continue
        raise KeyError(f"{name!r} not found")

    @staticmethod
    def _add_file(response: Any, file: FileDescriptor) -> None:
        """Add a file and everything that it imports, each once."""
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


def _refuse(response: Any, code: grpc.StatusCode, message: str) -> None:
    response.error_response.error_code = code.value[0]
    response.error_response.error_message = message
