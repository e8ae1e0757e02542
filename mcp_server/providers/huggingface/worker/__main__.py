"""The process of one model: it loads it, says so, and then answers what standard input asks until that ends.

Its argument is :class:`~mcp_server.providers.huggingface.protocol.Loading` as JSON. Standard output
carries the answers; what libraries print goes to standard error.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from typing import BinaryIO

import msgspec

from mcp_server.providers.huggingface.protocol import LENGTH, AnyMessage, AnyQuestion, Failed, Loading, frame
from mcp_server.providers.local.isolation import end_with_server, isolate


def main() -> None:
    """Serve one model until standard input ends."""
    source, output = isolate()
    # Libraries can keep Python from running for long, and it would not notice.
    end_with_server(source, at_once=True)
    lock = threading.Lock()

    def tell(messages: list[AnyMessage]) -> None:
        content = frame(messages)
        with lock:
            output.write(content)
            output.flush()

    questions: queue.SimpleQueue[list[AnyQuestion]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(source, questions), daemon=True).start()
    settings = msgspec.json.decode(sys.argv[1], type=Loading)
    try:
        _serve(settings, questions, tell)
    except BaseException as error:  # noqa: BLE001  # the process ends with it; libraries in Rust raise others, too
        traceback.print_exc()
        tell([Failed(why=f"{type(error).__name__}: {error}")])
    finally:
        # Ending in the usual way would wait for the thread that reads.
        sys.stderr.flush()
        os._exit(1)


def _serve(
    settings: Loading, questions: queue.SimpleQueue[list[AnyQuestion]], tell: Callable[[list[AnyMessage]], None]
) -> None:
    try:
        from mcp_server.providers.huggingface.worker.serving import serving
    except ImportError as error:
        tell([Failed(why=f"it needs the extra `huggingface`, which is incomplete here: {error}")])
        return
    ask = serving(settings, tell)
    while ask is not None:
        for question in questions.get():
            ask(question)


def _read(source: BinaryIO, questions: queue.SimpleQueue[list[AnyQuestion]]) -> None:
    """Pass on what is asked, and end the process when no more can come: also while it loads."""
    decode = msgspec.msgpack.Decoder(list[AnyQuestion]).decode
    while head := source.read(LENGTH.size):
        questions.put(decode(source.read(LENGTH.unpack(head)[0])))
    # Nothing is to be saved.
    os._exit(0)


if __name__ == "__main__":
    main()
