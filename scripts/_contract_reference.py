"""Render the reference of the contract: a page for each of its files, from its comments."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

from _reference_page import ReferencePage, anchor, row
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)


def render(contract: FileDescriptorSet) -> Iterator[ReferencePage]:
    """The pages of the files, those with the services first.

    Args:
        contract: the files of the contract, with their source info.
    """
    declared = {name: Path(file.name).stem for file in contract.file for name in _names(file)}
    for file in sorted(contract.file, key=_order):
        stem = Path(file.name).stem
        yield ReferencePage(
            path=f"contract/{stem}.md",
            title=" and ".join(service.name for service in file.service) or f"{stem.capitalize()}: messages",
            source=f"protos/contextprotocol/v1/{stem}.proto",
            body="\n".join(_Proto(file, stem, declared).render()),
            names=tuple((name, anchor(name)) for name in _names(file)),
        )


def _names(file: FileDescriptorProto) -> list[str]:
    return [message.name for message in file.message_type] + [enum.name for enum in file.enum_type]


_ORDER = ("session", "chat", "completion", "embedding", "turn", "model", "key", "usage")
"""The files that are read first, in this order: those with the services."""


def _order(file: FileDescriptorProto) -> tuple[int, str]:
    stem = Path(file.name).stem
    return (_ORDER.index(stem) if stem in _ORDER else len(_ORDER), file.name)


_SCALARS = {
    value: name.removeprefix("TYPE_").lower()
    for name, value in FieldDescriptorProto.Type.items()
    if name not in ("TYPE_MESSAGE", "TYPE_ENUM", "TYPE_GROUP")
}


class _Proto:
    """One file of the contract. A path is a list of field numbers and indexes that leads to a declaration."""

    def __init__(self, file: FileDescriptorProto, stem: str, declared: dict[str, str]) -> None:
        self._file = file
        self._stem = stem
        self._declared = declared
        self._comments = {
            tuple(location.path): location.leading_comments or location.trailing_comments
            for location in file.source_code_info.location
        }

    def render(self) -> Iterator[str]:
        for index, service in enumerate(self._file.service):
            path = (FileDescriptorProto.SERVICE_FIELD_NUMBER, index)
            yield from (
                self._comment(path),
                "",
                "| RPC | request | response | |",
                "|-|-|-|-|",
            )
            for number, rpc in enumerate(service.method):
                response = ("stream " if rpc.server_streaming else "") + self._link(_short(rpc.output_type))
                request = self._link(_short(rpc.input_type))
                yield row(f"`{rpc.name}`", request, response, self._comment((*path, 2, number)))
            yield ""
        for index, message in enumerate(self._file.message_type):
            yield from self._message(message, (FileDescriptorProto.MESSAGE_TYPE_FIELD_NUMBER, index), "")
        for index, enum in enumerate(self._file.enum_type):
            yield from self._enum(enum, (FileDescriptorProto.ENUM_TYPE_FIELD_NUMBER, index), "")

    def _message(self, message: DescriptorProto, path: tuple[int, ...], scope: str) -> Iterator[str]:
        name = scope + message.name
        maps = {nested.name: nested for nested in message.nested_type if nested.options.map_entry}
        yield from (f"## {name}", "", self._comment(path), "")
        if message.field:
            yield from ("| field | type | |", "|-|-|-|")
        for index, field in enumerate(message.field):
            comment = self._comment((*path, DescriptorProto.FIELD_FIELD_NUMBER, index))
            if field.HasField("oneof_index") and not field.proto3_optional:
                comment = f"One of `{message.oneof_decl[field.oneof_index].name}`. {comment}"
            yield row(f"`{field.name}`", self._link(_type(field, maps)), comment)
        yield ""
        for index, nested in enumerate(message.nested_type):
            if not nested.options.map_entry:
                yield from self._message(nested, (*path, DescriptorProto.NESTED_TYPE_FIELD_NUMBER, index), name + ".")
        for index, enum in enumerate(message.enum_type):
            yield from self._enum(enum, (*path, DescriptorProto.ENUM_TYPE_FIELD_NUMBER, index), name + ".")

    def _enum(self, enum: EnumDescriptorProto, path: tuple[int, ...], scope: str) -> Iterator[str]:
        yield from (f"## {scope}{enum.name}", "", self._comment(path), "", "| value | number | |", "|-|-|-|")
        for index, value in enumerate(enum.value):
            comment = self._comment((*path, EnumDescriptorProto.VALUE_FIELD_NUMBER, index))
            yield row(f"`{value.name}`", str(value.number), comment)
        yield ""

    def _link(self, type_name: str) -> str:
        """The type as code, and a link to it if the contract declares it."""
        label, _, name = type_name.rpartition(" ")
        stem = self._declared.get(name.partition(".")[0])
        if stem is None:
            return f"`{type_name}`"
        page = "" if stem == self._stem else f"{stem}.md"
        return f"{label} [`{name}`]({page}{anchor(name)})".strip()

    def _comment(self, path: tuple[int, ...]) -> str:
        return textwrap.dedent(self._comments.get(path, "")).strip()


def _type(field: FieldDescriptorProto, maps: dict[str, DescriptorProto]) -> str:
    name = _SCALARS.get(field.type) or _short(field.type_name)
    entry = maps.get(name.rpartition(".")[2])
    if entry is not None:
        return f"map<{_type(entry.field[0], {})}, {_type(entry.field[1], {})}>"
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return "repeated " + name
    return ("optional " if field.proto3_optional else "") + name


def _short(type_name: str) -> str:
    return type_name.removeprefix(".").removeprefix("contextprotocol.v1.")
