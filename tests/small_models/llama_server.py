"""llama.cpp's own HTTP server with the embedded model: an OpenAI-compatible server that nobody here wrote.

It runs in a process of its own, until its standard input ends.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Self

TEMPLATE = Path(__file__).with_name("tools.jinja")
"""How the model is shown conversations. Its own way knows no tools."""
WINDOW = 2048
PARALLEL = 2


class LlamaServer:
    """The process. Made by :meth:`start`.

    Attributes:
        url: the ``base_url`` for a client.
    """

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.url = url
        self._process = process

    @classmethod
    async def start(cls, model: Path) -> Self:
        """Load a model and listen."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            __file__,
            str(model),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert process.stdout is not None
        address = (await process.stdout.readline()).decode().strip()
        if not address:
            raise RuntimeError(f"llama.cpp did not start: run {sys.executable} {__file__} {model}")
        return cls(process, f"{address}/v1")

    async def stop(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


def main() -> None:
    """Serve until standard input ends."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = sys.argv[1]
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.n_parallel = PARALLEL
    parameters.n_ctx = WINDOW * PARALLEL
    parameters.n_batch = parameters.n_ubatch = 512
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = max(1, (os.cpu_count() or 1) - 1)
    parameters.embedding = True
    parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    parameters.use_jinja = True
    parameters.chat_template = TEMPLATE.read_text()
    parameters.sampling.temp = 0  # what is asked twice is answered alike
    parameters.cache_ram_mib = 0  # by default up to 8 GiB of old prompts
    parameters.warmup = False
    parameters.ui = False
    parameters.verbosity = 1  # errors alone
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)  # noqa: T201  # this is how the tests learn it
    sys.stdin.buffer.read()
    os._exit(0)  # nothing is to be saved, and llama.cpp would first let its clients finish


if __name__ == "__main__":
    main()
