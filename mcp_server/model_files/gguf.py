"""What a GGUF model file says of itself, read without loading it.

llama.cpp ends the process on some damaged files. So a file is looked over here before llama.cpp sees it: that its
header is whole, and that all the tensor data that the header speaks of is there.
"""

from __future__ import annotations

import re
import stat
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

MAGIC: Final = b"GGUF"
VERSIONS: Final = (2, 3)
DEFAULT_ALIGNMENT: Final = 32
MAX_ENTRIES: Final = 100_000
"""More metadata entries or tensors than that is no model but damage."""
MAX_TEXTS: Final = 4_000_000
"""The same for the texts of all lists: the largest vocabularies have less than a million."""
MAX_HEADER: Final = 1 << 27
"""No header is longer, in bytes: it is kept in memory while it is read."""
MAX_NUMBER: Final = (1 << 31) - 1
"""No length of anything in a model is greater."""
SHOWN: Final = 80
"""How much of a text of the file an error shows."""
MAX_DIMENSIONS: Final = 4
MAX_PARTS: Final = 1_000
CHUNK: Final = 1 << 20

_SCALARS: Final = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
_STRING: Final = 8
_ARRAY: Final = 9

_BLOCKS: Final = {
    0: (1, 4),
    1: (1, 2),
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    9: (32, 36),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
    15: (256, 292),
    16: (256, 66),
    17: (256, 74),
    18: (256, 98),
    19: (256, 50),
    20: (32, 18),
    21: (256, 110),
    22: (256, 82),
    23: (256, 136),
    24: (1, 1),
    25: (1, 2),
    26: (1, 4),
    27: (1, 8),
    28: (1, 8),
    29: (256, 56),
    30: (1, 2),
    34: (256, 54),
    35: (256, 66),
    39: (32, 17),
}
"""By the number of a tensor's type: how many elements a block has, and how many bytes."""


class BadModelFile(Exception):
    """A file is missing or is no whole GGUF file; the message says which, and what is wrong with it."""


class ModelFile(msgspec.Struct, frozen=True, kw_only=True):
    """What a model file says of itself."""

    path: Path
    """Where it is."""
    size: int
    """Its length in bytes."""
    metadata: Mapping[str, str | int | float | bool]
    """Its metadata, without the lists."""

    @property
    def architecture(self) -> str:
        """The family of the model, for example ``llama``."""
        return str(self.metadata.get("general.architecture", ""))

    @property
    def parts(self) -> int:
        """How many files the model has."""
        return _count(self.metadata.get("split.count"), default=1)

    def number(self, key: str) -> int | None:
        """The number under ``key`` of the architecture's own metadata, for example ``context_length``; ``None`` if
        there is none that a model can have."""
        value = self.metadata.get(f"{self.architecture}.{key}")
        return value if type(value) is int and 0 <= value <= MAX_NUMBER else None

    @property
    def context_length(self) -> int:
        """The most tokens that the model was trained to read; 0: not stated."""
        return self.number("context_length") or 0

    @property
    def embedding_length(self) -> int:
        """The length of the model's vectors; 0: not stated."""
        return self.number("embedding_length_out") or self.number("embedding_length") or 0

    @property
    def chat_template(self) -> str:
        """How a conversation becomes a prompt; empty: the model does not chat."""
        template = self.metadata.get("tokenizer.chat_template")
        return template if isinstance(template, str) else ""

    @property
    def generates(self) -> bool:
        """Whether it writes text; one that does not only makes embeddings."""
        return self.metadata.get(f"{self.architecture}.attention.causal", True) is not False

    @property
    def pools(self) -> bool:
        """Whether it says how the vectors of a text's tokens become one."""
        return bool(self.number("pooling_type"))


def read(path: Path) -> ModelFile:
    """Look a model file over. The time that takes grows with its vocabulary and not with its size.

    Raises:
        BadModelFile: it is missing, cannot be read, is cut short, or is no GGUF file.
    """
    try:
        file = _read_one(path)
        for number in range(1, file.parts):
            part = _part(path, number, file.parts)
            if not part.exists():
                raise BadModelFile(f"{path} is the first of {file.parts} parts of a model: there is no {part.name}")
            _read_one(part, number=number)
    except OSError as error:
        raise BadModelFile(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        # A path with a character that no file name has.
        raise BadModelFile(f"{str(path)!r} cannot be read: {error}") from error
    return file


def parts_of(path: Path) -> list[Path]:
    """The files of a model by its only or first one, which may be damaged: as its name says."""
    match = re.fullmatch(r".*-00001-of-([0-9]{5})\.gguf", path.name)
    count = int(match[1]) if match is not None else 1
    return [path] if not 1 < count <= MAX_PARTS else [_part(path, number, count) for number in range(count)]


def _read_one(path: Path, *, number: int = 0) -> ModelFile:
    """Look one file over, the part of a model with that ``number``."""
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise BadModelFile(f"{path} does not exist") from error
    # Opening a pipe would wait for whoever writes into it.
    if not stat.S_ISREG(status.st_mode):
        raise BadModelFile(f"{path} is not a file{': it is a folder' if stat.S_ISDIR(status.st_mode) else ''}")
    with path.open("rb") as opened:
        return _read(_Cursor(opened, path, status.st_size), number)


def _part(first: Path, number: int, parts: int) -> Path:
    """The file of a part of a model, counted from 0, as llama.cpp names it."""
    stem = first.name.removesuffix(f"-{1:05}-of-{parts:05}.gguf")
    return first.with_name(f"{stem}-{number + 1:05}-of-{parts:05}.gguf")


def _count(value: object, *, default: int) -> int:
    return value if type(value) is int else default


class _Cursor:
    """Goes through the header from its beginning, and reads no further than it must."""

    def __init__(self, file: BinaryIO, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        self.position = 0
        self._file = file
        self._buffer = bytearray()
        self._texts = 0

    def damaged(self, problem: str) -> BadModelFile:
        return BadModelFile(f"{self.path} is damaged: {problem}; its length is {self.size} bytes")

    def take(self, length: int) -> bytes:
        """The next ``length`` bytes."""
        end = self.position + length
        if MAX_HEADER < end <= self.size:
            raise self.damaged(f"its header takes more than {MAX_HEADER} bytes")
        missing = end - len(self._buffer)
        if missing > 0:
            if end <= self.size:
                self._buffer += self._file.read(max(CHUNK, missing))
            if end > len(self._buffer):
                raise BadModelFile(f"{self.path} is cut short: it ends in its header, after {self.size} bytes")
        taken = bytes(self._buffer[self.position : end])
        self.position = end
        return taken

    def unpack(self, layout: struct.Struct) -> int | float | bool:
        value: int | float | bool = layout.unpack(self.take(layout.size))[0]
        return value

    def u32(self) -> int:
        return int(self.unpack(_SCALARS[4]))

    def u64(self) -> int:
        return int(self.unpack(_SCALARS[10]))

    def text(self) -> str:
        return self.take(self.u64()).decode("utf-8", "replace")

    def skip_texts(self, count: int) -> None:
        """Pass over that many strings: a vocabulary has hundreds of thousands."""
        self._texts += count
        if self._texts > MAX_TEXTS:
            raise self.damaged(f"it claims a list of {count} texts")
        layout = _SCALARS[10]
        for _ in range(count):
            start = self.position + layout.size
            if start <= len(self._buffer):
                end = start + layout.unpack_from(self._buffer, self.position)[0]
                if end <= len(self._buffer):
                    self.position = end
                    continue
            self.take(self.u64())


def _read(cursor: _Cursor, number: int) -> ModelFile:
    magic = cursor.take(min(len(MAGIC), cursor.size))
    if magic != MAGIC:
        raise BadModelFile(f"{cursor.path} is not a GGUF file: it begins with {magic!r} and not with {MAGIC!r}")
    version = cursor.u32()
    if version not in VERSIONS:
        raise BadModelFile(
            f"{cursor.path} is GGUF version {version}, and only {VERSIONS[0]} and {VERSIONS[1]} are known"
        )
    tensors, entries = cursor.u64(), cursor.u64()
    if tensors > MAX_ENTRIES or entries > MAX_ENTRIES:
        raise cursor.damaged(f"it claims {tensors} tensors and {entries} entries of metadata")
    metadata: dict[str, str | int | float | bool] = {}
    for _ in range(entries):
        key = cursor.text()
        value = _value(cursor)
        if value is not None:
            metadata[key] = value
    parts = metadata.get("split.count", 1)
    if type(parts) is not int or not 0 <= parts <= MAX_PARTS:
        raise cursor.damaged(f"it claims to be one of {_shown(parts)} parts")
    if parts > 1:
        _check_part(cursor, metadata, number, parts)
    elif not tensors:
        raise BadModelFile(f"{cursor.path} holds no tensors: it is a vocabulary, and not a model")
    ends = [_tensor_end(cursor) for _ in range(tensors)]
    alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if type(alignment) is not int or alignment <= 0 or alignment & (alignment - 1):
        raise cursor.damaged(f"it claims an alignment of {_shown(alignment)}")
    expected = -(-cursor.position // alignment) * alignment + max(ends, default=0)
    if cursor.size < expected:
        raise BadModelFile(f"{cursor.path} is cut short: it has {cursor.size} of at least {expected} bytes")
    architecture = metadata.get("general.architecture")
    # Only the first part of a split model says what it is.
    if not number and not (isinstance(architecture, str) and architecture):
        raise cursor.damaged("it does not say which architecture its model has")
    return ModelFile(path=cursor.path, size=cursor.size, metadata=metadata)


def _check_part(cursor: _Cursor, metadata: Mapping[str, object], number: int, parts: int) -> None:
    """Raise unless it is that part of a split model."""
    found = metadata.get("split.no")
    if found != number:
        which = f"part {found + 1}" if type(found) is int else f"a part without a number ({_shown(found)})"
        expected = "name its first part" if not number else f"part {number + 1} is expected in that file"
        raise BadModelFile(f"{cursor.path} is {which} of a split model of {parts} parts: {expected}")
    ending = f"-{number + 1:05}-of-{parts:05}.gguf"
    if not cursor.path.name.endswith(ending):
        raise BadModelFile(
            f"{cursor.path} is the first of the {parts} parts of a split model, whose name has to end in {ending}"
        )


def _shown(value: object) -> str:
    """A value of the file, as an error shows it."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _value(cursor: _Cursor) -> str | int | float | bool | None:
    """The next value; ``None`` for a list, which is passed over."""
    kind = cursor.u32()
    if kind == _STRING:
        return cursor.text()
    if kind in _SCALARS:
        return cursor.unpack(_SCALARS[kind])
    if kind != _ARRAY:
        raise cursor.damaged(f"it has metadata of the unknown type {kind}")
    kind, count = cursor.u32(), cursor.u64()
    if count > cursor.size:
        raise cursor.damaged(f"it claims a list of {count} elements")
    if kind == _STRING:
        cursor.skip_texts(count)
    elif kind in _SCALARS:
        cursor.take(count * _SCALARS[kind].size)
    else:
        raise cursor.damaged(f"it has a list of the unknown type {kind}")
    return None


def _tensor_end(cursor: _Cursor) -> int:
    """Where the data of the next tensor ends, from the beginning of all tensor data."""
    name = cursor.text()
    dimensions = cursor.u32()
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise cursor.damaged(f"its tensor {_shown(name)} has {dimensions} dimensions")
    lengths = [cursor.u64() for _ in range(dimensions)]
    kind, offset = cursor.u32(), cursor.u64()
    elements = 1
    for length in lengths:
        elements *= length
    if not elements:
        raise cursor.damaged(f"its tensor {_shown(name)} is empty")
    # Of a type that is newer than this table only the beginning is known.
    per_block, size = _BLOCKS.get(kind, (elements, 1))
    if lengths[0] % per_block and kind in _BLOCKS:
        raise cursor.damaged(
            f"its tensor {_shown(name)} has rows of {lengths[0]} elements, which its type does not allow"
        )
    return offset + elements // per_block * size
