"""The process of one model: it loads it, says so, and then answers what standard input asks until that ends.

Its argument is :class:`~mcp_server.providers.huggingface.protocol.Settings` as JSON. Standard output
carries the answers; what libraries print goes to standard error.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec

from mcp_server.providers.huggingface.protocol import LENGTH, Asked, Failed, Settings, Told, frame


def main() -> None:
    """Serve one model until standard input ends."""
    # Ctrl-C in a terminal reaches all its processes; when this one ends is for the one that started it to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        # Where memory runs out, Linux is to end this process and not the server.
        Path("/proc/self/oom_score_adj").write_text("500")
    # What libraries print is not to come between the answers.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    lock = threading.Lock()

    def tell(messages: list[Told]) -> None:
        content = frame(messages)
        with lock:
            out.write(content)
            out.flush()

    settings = msgspec.json.decode(sys.argv[1], type=Settings)
    try:
        from mcp_server.providers.huggingface.worker.serving import serving
    except ImportError as error:
        tell([Failed(why=f"it needs the extra `huggingface`, which is incomplete here: {error}")])
        return
    serve = serving(settings, tell)
    if serve is not None:
        for messages in _questions():
            for message in messages:
                serve(message)
    # Nothing is to be saved.
    os._exit(0)


def _questions() -> Iterator[list[Asked]]:
    decode = msgspec.msgpack.Decoder(list[Asked]).decode
    while head := sys.stdin.buffer.read(LENGTH.size):
        yield decode(sys.stdin.buffer.read(LENGTH.unpack(head)[0]))


if __name__ == "__main__":
    main()
