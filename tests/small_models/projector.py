"""A projector that sees colours: it turns each part of a red image into the word "red" as the embedded model reads it.

Real projectors have hundreds of megabytes. This one has the form of LLaVA's, whose layers do nothing here but tell red,
green and blue apart, so that llama.cpp's whole path from the bytes of an image to the answer runs.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Final

import gguf
import numpy as np
import numpy.typing as npt

COLOURS: Final = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
SIZE: Final = 32
PATCH: Final = 16
PARTS: Final = (SIZE // PATCH) ** 2
"""How many tokens an image has."""
HIDDEN: Final = 32
SHARP: Final = 10.0


def make_projector(path: Path, model: Path) -> None:
    """Write the projector for a model file."""
    words = _embeddings(model)
    width = words.shape[1]
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_bool("clip.use_gelu", True)
    writer.add_string("clip.projector_type", "mlp")
    writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    writer.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
    for name, number in {
        "image_size": SIZE,
        "patch_size": PATCH,
        "embedding_length": HIDDEN,
        "feed_forward_length": HIDDEN,
        "block_count": 1,
        "attention.head_count": 1,
        "projection_dim": width,
    }.items():
        writer.add_uint32(f"clip.vision.{name}", number)
    # A layer of zeros adds nothing to what it is given.
    shapes: dict[str, tuple[int, ...]] = {"v.class_embd": (HIDDEN,), "v.position_embd.weight": (PARTS + 1, HIDDEN)}
    for part in ("attn_q", "attn_k", "attn_v", "attn_out", "ffn_up", "ffn_down"):
        shapes |= {f"v.blk.0.{part}.weight": (HIDDEN, HIDDEN), f"v.blk.0.{part}.bias": (HIDDEN,)}
    for part in ("ln1", "ln2"):
        shapes |= {f"v.blk.0.{part}.weight": (HIDDEN,), f"v.blk.0.{part}.bias": (HIDDEN,)}
    shapes |= {"mm.0.bias": (width,), "mm.2.bias": (width,)}
    for name, shape in shapes.items():
        writer.add_tensor(name, np.zeros(shape, np.float32))
    means = np.zeros((HIDDEN, 3, PATCH, PATCH), np.float32)
    means[range(3), range(3)] = 1 / PATCH**2
    sharpen = np.zeros((width, HIDDEN), np.float32)
    sharpen[range(3), range(3)] = SHARP
    speak = np.zeros((width, width), np.float32)
    speak[:, :3] = words.T / SHARP
    for name, tensor in {"v.patch_embd.weight": means, "mm.0.weight": sharpen, "mm.2.weight": speak}.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def png(colour: str, size: int = SIZE) -> bytes:
    """A square image of one colour."""
    rows = (b"\0" + bytes(COLOURS[colour]) * size) * size
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        ]
    )


def _embeddings(model: Path) -> npt.NDArray[np.float32]:
    """How the model reads the colours."""
    reader = gguf.GGUFReader(model)
    vocabulary = reader.fields["tokenizer.ggml.tokens"]
    wanted = {f"Ġ{colour}".encode(): number for number, colour in enumerate(COLOURS)}
    found = np.zeros(len(COLOURS), np.int64)
    for token, part in enumerate(vocabulary.data):
        if (number := wanted.get(bytes(vocabulary.parts[part]))) is not None:
            found[number] = token
    (tensor,) = [tensor for tensor in reader.tensors if tensor.name == "token_embd.weight"]
    return gguf.dequantize(tensor.data[found], tensor.tensor_type)
