"""The process that runs a local model: its start, its output and its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Self

import structlog

from mcp_server.providers.local.lazy import LoadFailed

log = structlog.get_logger("contextprotocol.providers")

END_SECONDS: Final = 5.0
"""How long the process may take to end by itself, and again after it was killed."""
OUTCOME_SECONDS: Final = 1.0
"""How long a call whose connection ended waits to hear how the process ended."""
KEPT_BYTES: Final = 1 << 14
"""How much of the last output is kept to explain a failure, in bytes."""


_SECRET: Final = re.compile(
    r"^CONTEXTPROTOCOL_|KEY|TOKEN(?!IZER)|SECRET|PASSWORD|CREDENTIAL|_DSN$|_URL$", re.IGNORECASE
)
"""Names of environment variables whose values are no business of a model's libraries."""
_NEEDED: Final = frozenset({"HF_TOKEN", "HF_TOKEN_PATH", "HUGGING_FACE_HUB_TOKEN"})
"""Those by which files are fetched from the hub."""


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a model's process: that of the server without its keys."""
    return {name: value for name, value in environ.items() if name in _NEEDED or not _SECRET.search(name)}


class ModelProcess:
    """A process that runs one model. Made by :meth:`start`."""

    def __init__(self, process: Process, model: str) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.model = model
        self.stdin = process.stdin
        self.stdout = process.stdout
        self.kill_reason = ""
        """Why the server killed it; empty if it did not."""
        self.when_killed: Callable[[], None] | None = None
        """Called when the server kills it: whoever waits for its answers need not wait for its end."""
        self.crashed = False
        """Whether it ended by itself, and neither the server nor anybody else ended it."""
        self.ending = asyncio.create_task(process.wait())
        """Done when it has ended."""
        self._process = process
        self._output = b""
        self._listening = asyncio.create_task(self._listen())
        self._closing = False
        self.ending.add_done_callback(self._ended)

    @classmethod
    async def start(cls, arguments: Sequence[str], *, model: str) -> Self:
        """Start Python with these arguments.

        Raises:
            LoadFailed: the system starts no process.
        """
        # -P: the folder that the server was started in is not searched for modules.
        program = (sys.executable, "-P", *arguments)
        try:
            process = await asyncio.create_subprocess_exec(
                *program, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=_environment(os.environ)
            )
            return cls(process, model)
        except OSError as error:
            raise LoadFailed(f"no process can be started: {error.strerror or error}") from error

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs, and is to go on running."""
        return self._process.returncode is None and not self.kill_reason

    @property
    def output(self) -> list[str]:
        """The last lines of its standard error. For the operator only: it can contain paths and lines of code."""
        return [line.strip() for line in self._output.decode(errors="replace").splitlines() if line.strip()]

    def kill(self, reason: str) -> None:
        """End it at once, whatever it does.

        Args:
            reason: why, to complete "the process of the model X was ended because …".
        """
        if not self.alive or self._closing:
            return
        self.kill_reason = reason
        log.error("model process killed", model=self.model, reason=reason, output=self.output[-8:])
        self._kill()
        if self.when_killed is not None:
            self.when_killed()

    async def outcome(self) -> str:
        """How it ended, to complete "the process of the model X …". For one that has ended or is about to."""
        if self.kill_reason:
            return f"was ended because {self.kill_reason}"
        if not await self._ends(OUTCOME_SECONDS):
            return "does not answer any more"
        code = self._process.returncode
        assert code is not None
        if code >= 0:
            return f"has ended with status {code}"
        return f"was ended by signal {-code}{', as Linux does where memory runs out' if code == -9 else ''}"

    async def close(self) -> None:
        """End it, whatever it does, and wait until it has ended."""
        self._closing = True
        self.stdin.close()
        if not (self.kill_reason or await self._ends(END_SECONDS)):
            self._kill()
        if not await self._ends(END_SECONDS):
            # Only a process that waits for hardware, or for a network drive, outlives a kill.
            log.error("model process does not end", model=self.model, pid=self.pid)
            self._listening.cancel()
            self.ending.cancel()
            await asyncio.wait([self._listening, self.ending])

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def _ends(self, seconds: float) -> bool:
        """Whether it ends within so many seconds, its output read to the end."""
        _, unfinished = await asyncio.wait([self.ending, self._listening], timeout=seconds)
        return not unfinished

    def _ended(self, ending: asyncio.Task[int]) -> None:
        if not (ending.cancelled() or self._closing or self.kill_reason):
            self.crashed = ending.result() not in (-signal.SIGKILL, -signal.SIGTERM)

    async def _listen(self) -> None:
        """Read its standard error, and keep the end of it."""
        assert self._process.stderr is not None
        while chunk := await self._process.stderr.read(KEPT_BYTES):
            self._output = (self._output + chunk)[-KEPT_BYTES:]
