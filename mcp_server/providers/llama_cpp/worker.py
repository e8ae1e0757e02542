"""The program that computes: one model, loaded by llama.cpp, in a process of its own.

llama.cpp holds the interpreter's lock while it loads, and ends its process on some faults. Here it disturbs nobody. The
program takes one argument, a JSON object (:class:`mcp_server.providers.llama_cpp.engine.Loading`). It answers
llama.cpp's own HTTP protocol on a Unix socket, says ``ready`` on its standard output when the model is loaded, and ends
when its standard input does: also when the process that started it was killed.

It imports next to nothing of this project, so that it starts fast.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

from mcp_server.providers.local.isolation import end_with_server, isolate


def main() -> None:
    """Serve one model until standard input ends."""
    questions, answers = isolate()
    # While llama.cpp loads, Python does not run, and would not notice.
    end_with_server(questions, at_once=True)
    settings = json.loads(sys.argv[1])
    # Where llama.cpp aborts, it would first start a debugger, whose output hides why.
    os.putenv("GGML_NO_BACKTRACE", "1")

    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = settings["path"]
    parameters.hostnames = [settings["socket"]]
    slots = settings["parallel"]
    parameters.n_parallel = slots
    parameters.n_ctx = settings["context_window"] * slots
    parameters.n_threads_http = settings["connections"]
    # A multiple of the slots: llama.cpp ends its process where it cannot give each an equal part.
    parameters.n_batch = parameters.n_ubatch = -(-settings["batch"] // slots) * slots
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = settings["threads"]
    # One context does both: what writes text is not slowed down by being able to make embeddings.
    parameters.embedding = True
    if settings["pool"]:
        parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    # Which slot a text to embed gets is then known: the one that was not used for longest.
    parameters.slot_prompt_similarity = 0.0
    if settings["chat_template"] is not None:
        parameters.chat_template = Path(settings["chat_template"]).read_text(encoding="utf-8")
    if settings["projector"] is not None:
        parameters.mmproj.path = settings["projector"]
    parameters.cache_ram_mib = 0  # by default up to 8 GiB of old prompts
    parameters.warmup = False
    parameters.ui = False
    parameters.endpoint_slots = False
    parameters.verbosity = 1  # errors alone

    try:
        _server = xllamacpp.Server(parameters)  # it serves for as long as it is there
    except Exception as error:  # noqa: BLE001  # llama.cpp has written what it is, and a traceback would only hide it
        with contextlib.suppress(OSError):
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            sys.stderr.flush()
        # The usual end waits for threads of llama.cpp, which need not end.
        os._exit(1)
    end_with_server(questions, at_once=False)  # it removes its socket first
    with contextlib.suppress(OSError):
        answers.write(b"ready\n")
        answers.flush()
    questions.read()
    with contextlib.suppress(OSError):
        # Who would otherwise do it may have been killed.
        Path(settings["socket"]).unlink()
        Path(settings["socket"]).parent.rmdir()
    # Nothing is to be saved, and llama.cpp would first let its clients finish.
    os._exit(0)


if __name__ == "__main__":
    main()
