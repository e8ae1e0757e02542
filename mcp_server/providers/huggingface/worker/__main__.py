"""The process of one model: it loads it, says so, and then answers what standard input asks until that ends.

Its argument is :class:`~mcp_server.providers.huggingface.protocol.Loading` as JSON. Standard output
carries the answers; what libraries print goes to standard error.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import msgspec

from mcp_server.providers.huggingface.protocol import LENGTH, AnyMessage, AnyQuestion, Failed, Loading, frame


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
    sys.stdout = sys.stderr
    lock = threading.Lock()

    def tell(messages: list[AnyMessage]) -> None:
        content = frame(messages)
        with lock:
            out.write(content)
            out.flush()

    questions: queue.SimpleQueue[list[AnyQuestion]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(questions,), daemon=True).start()
    settings = msgspec.json.decode(sys.argv[1], type=Loading)
    try:
        _serve(settings, questions, tell)
    except Exception:  # noqa: BLE001  # the process ends with it, and the server reads its output
        traceback.print_exc()
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


def _read(questions: queue.SimpleQueue[list[AnyQuestion]]) -> None:
    """Pass on what is asked, and end the process when no more can come: also while it loads."""
    decode = msgspec.msgpack.Decoder(list[AnyQuestion]).decode
    while head := sys.stdin.buffer.read(LENGTH.size):
        questions.put(decode(sys.stdin.buffer.read(LENGTH.unpack(head)[0])))
    # Nothing is to be saved.
    os._exit(0)


if __name__ == "__main__":
    main()
