"""Model files are looked over before llama.cpp sees them."""

from __future__ import annotations

import random
import struct
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
