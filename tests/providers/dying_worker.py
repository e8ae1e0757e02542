"""Stands for the process of a model whose graphics card fails at the first question. Its libraries also print."""

from __future__ import annotations

import os

import msgspec

from mcp_server.providers.huggingface.protocol import LENGTH, AnyQuestion, Facts, Failed, Ready, frame
from mcp_server.providers.local.isolation import isolate

if __name__ == "__main__":
    source, output = isolate()
    print("a library says hello")  # noqa: T201  # as some do
    output.write(frame([Ready(facts=Facts(generates=True, chat_template="x", context_window=100))]))
    output.flush()
    (length,) = LENGTH.unpack(source.read(LENGTH.size))
    msgspec.msgpack.decode(source.read(length), type=list[AnyQuestion])
    os.write(1, b"a library says good-bye")
    output.write(frame([Failed(why="cuda:0 does not compute any more: CUDA error: device-side assert triggered")]))
    output.flush()
    source.read()
