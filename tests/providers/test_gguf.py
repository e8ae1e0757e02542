"""Model files are looked over before llama.cpp sees them."""

from __future__ import annotations

import math
import random
import struct
import tracemalloc
from pathlib import Path

import pytest

from mcp_server.model_files import gguf
from mcp_server.model_files.gguf import BadModelFile


def text(value: str) -> bytes:
    """A string as GGUF has it."""
    return struct.pack("<Q", len(value.encode())) + value.encode()


def entry(key: str, kind: int, value: bytes) -> bytes:
    """One entry of metadata."""
    return text(key) + struct.pack("<I", kind) + value


ARCHITECTURE = entry("general.architecture", 8, text("llama"))
CONTEXT = entry("llama.context_length", 4, struct.pack("<I", 512))
TENSOR = text("weights") + struct.pack("<IQQIQ", 2, 64, 2, 8, 0)
"""Two rows of 64 elements of type Q8_0: 136 bytes."""


def write(path: Path, *entries: bytes, tensor: bytes = TENSOR, data: int = 136, tensors: int = 1) -> Path:
    """A model file with one tensor."""
    header = b"GGUF" + struct.pack("<IQQ", 3, tensors, len(entries)) + b"".join(entries) + tensor
    path.write_bytes(header + bytes(-len(header) % 32) + bytes(data))
    return path


def test_a_model_file_says_what_its_model_is(tmp_path: Path) -> None:
    """Metadata of every kind is read, and lists are passed over."""
    words = struct.pack("<IQ", 8, 3) + text("a") + text("") + text("long" * 100)
    numbers = struct.pack("<IQ", 5, 4) + bytes(16)
    file = gguf.read(
        write(
            tmp_path / "m.gguf",
            ARCHITECTURE,
            entry("tokenizer.ggml.tokens", 9, words),
            entry("some.numbers", 9, numbers),
            CONTEXT,
            entry("llama.embedding_length", 10, struct.pack("<Q", 64)),
            entry("llama.attention.causal", 7, b"\x00"),
            entry("llama.pooling_type", 4, struct.pack("<I", 1)),
            entry("llama.rope.freq_base", 6, struct.pack("<f", 0.5)),
            entry("tokenizer.chat_template", 8, text("{{ messages }} ä")),
        )
    )
    assert (file.architecture, file.context_length, file.embedding_length) == ("llama", 512, 64)
    assert (file.generates, file.pools, file.chat_template) == (False, True, "{{ messages }} ä")
    assert file.metadata["llama.rope.freq_base"] == 0.5
    assert not {"tokenizer.ggml.tokens", "some.numbers"} & file.metadata.keys()


@pytest.mark.parametrize("missing", [1, 32, 136])
def test_missing_data_is_noticed(tmp_path: Path, missing: int) -> None:
    """A file whose tensor data is not all there is cut short, by however little."""
    with pytest.raises(BadModelFile, match="cut short"):
        gguf.read(write(tmp_path / "m.gguf", ARCHITECTURE, data=136 - missing))


@pytest.mark.parametrize(
    ("entries", "tensor", "problem"),
    [
        ((CONTEXT,), TENSOR, "architecture"),
        ((ARCHITECTURE, entry("x", 77, b"")), TENSOR, "type 77"),
        ((ARCHITECTURE, entry("x", 9, struct.pack("<IQ", 9, 1))), TENSOR, "type 9"),
        ((ARCHITECTURE, entry("x", 9, struct.pack("<IQ", 4, 2**60))), TENSOR, "list"),
        ((ARCHITECTURE, entry("general.alignment", 4, struct.pack("<I", 7))), TENSOR, "alignment"),
        ((ARCHITECTURE, entry("split.count", 2, struct.pack("<H", 3))), TENSOR, "split"),
        ((ARCHITECTURE, entry("split.count", 8, text("two"))), TENSOR, "'two' parts"),
        ((ARCHITECTURE, entry("split.count", 6, struct.pack("<f", math.nan))), TENSOR, "nan parts"),
        ((ARCHITECTURE, entry("split.count", 4, struct.pack("<I", 2**31))), TENSOR, "2147483648 parts"),
        ((entry("general.architecture", 4, struct.pack("<I", 1)),), TENSOR, "architecture"),
        ((ARCHITECTURE, entry("x", 9, struct.pack("<IQ", 8, 2**40))), TENSOR, "list"),
        ((ARCHITECTURE, entry("general.alignment", 7, b"\1")), TENSOR, "alignment"),
        ((ARCHITECTURE, entry("general.alignment", 8, text("x" * 1000))), TENSOR, "alignment of 'x{79}…"),
        ((ARCHITECTURE,), text("w") + struct.pack("<IQQIQ", 9, 64, 2, 8, 0), "dimensions"),
        ((ARCHITECTURE,), text("w") + struct.pack("<IQQIQ", 2, 63, 2, 8, 0), "rows of 63"),
        ((ARCHITECTURE,), text("w") + struct.pack("<IQQIQ", 2, 0, 2, 8, 0), "empty"),
        ((ARCHITECTURE,), text("w") + struct.pack("<IQQIQ", 2, 64, 2, 8, 2**62), "cut short"),
        ((ARCHITECTURE,), text("w") + struct.pack("<IQQIQ", 2, 2**62, 2**62, 8, 0), "cut short"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(
    tmp_path: Path, entries: tuple[bytes, ...], tensor: bytes, problem: str
) -> None:
    """It is refused by what is wrong with it."""
    with pytest.raises(BadModelFile, match=problem):
        gguf.read(write(tmp_path / "m.gguf", *entries, tensor=tensor))


@pytest.mark.parametrize(
    "value",
    [
        (8, text("many")),
        (6, struct.pack("<f", 512.0)),
        (5, struct.pack("<i", -5)),
        (7, b"\1"),
        (10, struct.pack("<Q", 2**63)),
        (9, struct.pack("<IQ", 4, 0)),
    ],
)
def test_a_length_that_no_model_has_is_no_length(tmp_path: Path, value: tuple[int, bytes]) -> None:
    """The file is read as if it did not state it."""
    odd = [entry(key, *value) for key in ("llama.context_length", "llama.embedding_length", "llama.pooling_type")]
    file = gguf.read(write(tmp_path / "m.gguf", ARCHITECTURE, *odd, entry("tokenizer.chat_template", *value)))
    assert (file.context_length, file.embedding_length, file.pools) == (0, 0, False)
    assert file.chat_template == ("many" if value[0] == 8 else "")


@pytest.mark.parametrize(
    "header",
    [
        struct.pack("<IQQ", 3, 1, 1) + struct.pack("<Q", 40 << 30),
        struct.pack("<IQQ", 3, 1, 1) + text("k") + struct.pack("<IIQ", 9, 8, 3 << 30),
        struct.pack("<IQQ", 3, 1, 1) + text("k") + struct.pack("<IIQ", 9, 10, 3 << 30),
        struct.pack("<IQQ", 3, 1 << 20, 1 << 20),
    ],
    ids=["a text", "a list of texts", "a list of numbers", "entries"],
)
def test_what_is_absurdly_long_is_refused_and_not_read(tmp_path: Path, header: bytes) -> None:
    """Also where the file is long enough for it."""
    path = tmp_path / "m.gguf"
    with path.open("wb") as file:
        file.write(b"GGUF" + header)
        file.truncate(50 << 30)  # a hole: it takes no room
    tracemalloc.start()
    try:
        with pytest.raises(BadModelFile, match="damaged"):
            gguf.read(path)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def part(folder: Path, number: int, parts: int, *, name: int = 0) -> Path:
    """A part of a split model; only the first says what it is."""
    place = [entry("split.no", 2, struct.pack("<H", number)), entry("split.count", 2, struct.pack("<H", parts))]
    described = [ARCHITECTURE, CONTEXT] if number == 0 else []
    return write(folder / f"m-{(name or number + 1):05}-of-{parts:05}.gguf", *described, *place)


def test_a_split_model_is_whole_if_all_its_parts_are(tmp_path: Path) -> None:
    """A part that is missing, cut or another is named; a part that is not the first is not the model."""
    first, second, third = [part(tmp_path, number, 3) for number in range(3)]
    file = gguf.read(first)
    assert (file.parts, file.context_length) == (3, 512)
    with pytest.raises(BadModelFile, match="is part 2 of a split model of 3 parts: name its first part"):
        gguf.read(second)
    part(tmp_path, 2, 3, name=2)
    with pytest.raises(BadModelFile, match=f"{second.name} is part 3 .*: part 2 is expected in that file"):
        gguf.read(first)
    part(tmp_path, 1, 3)
    third.write_bytes(third.read_bytes()[:-1])
    with pytest.raises(BadModelFile, match=f"{third.name} is cut short"):
        gguf.read(first)
    third.unlink()
    with pytest.raises(BadModelFile, match=f"the first of 3 parts of a model: there is no {third.name}"):
        gguf.read(first)
    renamed = first.rename(tmp_path / "m.gguf")
    with pytest.raises(BadModelFile, match=r"whose name has to end in -00001-of-00003\.gguf"):
        gguf.read(renamed)


def test_a_path_that_no_file_has_is_a_bad_file() -> None:
    """Too long a name, and a character that is not allowed."""
    for path in (Path("x" * 5000), Path("a\0b")):
        with pytest.raises(BadModelFile, match="cannot be read"):
            gguf.read(path)


def test_any_damage_is_a_bad_file_and_nothing_else(tmp_path: Path) -> None:
    """Whatever bytes of its header are changed, a file is either read or refused, quickly."""
    whole = write(tmp_path / "m.gguf", ARCHITECTURE, CONTEXT, entry("t", 9, struct.pack("<IQ", 8, 1) + text("a")))
    content = whole.read_bytes()
    choice = random.Random(11)  # noqa: S311  # repeatable, not secret
    refused = 0
    for _ in range(1_000):
        damaged = bytearray(content)
        for _ in range(choice.randint(1, 4)):
            damaged[choice.randrange(len(content) - 136)] = choice.choice((0, 1, 8, 0x7F, 0xFF))
        whole.write_bytes(damaged[: choice.choice((len(damaged), choice.randrange(len(damaged))))])
        try:
            gguf.read(whole)
        except BadModelFile:
            refused += 1
    assert refused > 500
