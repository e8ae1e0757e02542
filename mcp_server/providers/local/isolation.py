"""What every process that runs a model does first. It imports little, so that the process starts fast."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
from pathlib import Path
from typing import BinaryIO, Final

PR_SET_PDEATHSIG: Final = 1


def isolate() -> tuple[BinaryIO, BinaryIO]:
    """Keep this process from harming its server, and return its standard input and output.

    They are for the server alone: a library that reads standard input finds it empty, and what one prints goes to
    standard error.
    """
    # Ctrl-C in a terminal reaches all its processes; when this one ends is for the server to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        # Where memory runs out, Linux is to end this process and not the server.
        Path("/proc/self/oom_score_adj").write_text("500")
    questions = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return questions, answers


def end_with_server(questions: BinaryIO, *, at_once: bool) -> None:
    """Whether Linux kills this process as soon as its server has ended, however busy it is.

    Elsewhere, and otherwise, the process itself has to notice that its standard input ends.

    Args:
        questions: its standard input.
        at_once: whether Linux does.
    """
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL if at_once else 0)
    poll = select.poll()
    poll.register(questions, select.POLLHUP)
    if any(event & select.POLLHUP for _, event in poll.poll(0)):
        # It has ended already.
        os._exit(0)
