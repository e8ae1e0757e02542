"""How log lines are written: structlog to standard error, as JSON for machines or coloured for people."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import msgspec
import structlog


def configure(*, level: str, format: str, stream: TextIO | None = None) -> None:
    """Set up all log lines of this process, those of libraries too.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``: the least important lines to write.
        format: ``json``, ``console``, or ``auto``: the console on a terminal and JSON elsewhere.
        stream: where to; by default standard error.
    """
    stream = sys.stderr if stream is None else stream
    console = format == "console" or (format == "auto" and stream.isatty())
    levels: Mapping[str, int] = logging.getLevelNamesMapping()
    processors: list[structlog.typing.Processor] = [structlog.processors.add_log_level]
    if console:
        processors += [
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(
                colors=stream.isatty(), pad_event_to=24, exception_formatter=structlog.dev.plain_traceback
            ),
            _encode,
        ]
    else:
        stamp = structlog.processors.TimeStamper(fmt="iso", utc=True, key="time")
        processors += [stamp, structlog.processors.format_exc_info, _JSON()]
    output = _Output(stream)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(levels[level.upper()]),
        logger_factory=lambda *_: output,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Forward(level=max(levels[level.upper()], logging.WARNING))]


class _Output:
    """Writes finished lines, each at once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream.buffer

    def write(self, line: bytes) -> None:
        try:
            self._stream.write(line + b"\n")
            self._stream.flush()
        except (OSError, ValueError):
            # Whoever read the log is gone, or its disk is full. There is nowhere left to tell it, and calls go on.
            return

    debug = info = warning = error = critical = msg = write


class _JSON:
    """Renders a line, beginning with what every line has."""

    def __init__(self) -> None:
        self._encode = msgspec.json.Encoder(enc_hook=repr).encode

    def __call__(self, logger: object, name: str, event: MutableMapping[str, Any]) -> bytes:
        line = {"time": event.pop("time"), "level": event.pop("level"), "event": event.pop("event"), **event}
        try:
            return self._encode(line)
        except UnicodeEncodeError:
            return self._encode({key: str(value).encode(errors="replace").decode() for key, value in line.items()})


def _encode(logger: object, name: str, line: Any) -> bytes:
    return str(line).encode(errors="replace")


class _Forward(logging.Handler):
    """Hands the lines of libraries that use :mod:`logging` on to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info or None
        )
