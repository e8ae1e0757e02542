"""How log lines are written: structlog to standard error, as JSON for machines or coloured for people."""

from __future__ import annotations

import atexit
import io
import logging
import re
import sys
import time
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, TextIO

import msgspec
import structlog

from mcp_server.logs.repeats import TEMPLATE, RepeatLimit

_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
"""Characters that act on a terminal or end a line, apart from tabs and ends of lines."""
_UNESCAPED: Final = re.compile(rb"\x7f|\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]")
"""Those that JSON does not escape, in UTF-8."""


def configure(*, level: str, format: str, stream: TextIO | None = None) -> None:
    """Set up all log lines of this process, including those of libraries.

    Args:
        level: the least severe level to write: ``debug``, ``info``, ``warning`` or ``error``.
        format: ``json``, ``console``, or ``auto``: the console on a terminal and JSON elsewhere.
        stream: where to write; by default standard error.
    """
    stream = sys.stderr if stream is None else stream
    console = format == "console" or (format == "auto" and stream.isatty())
    levels: Mapping[str, int] = logging.getLevelNamesMapping()
    output, repeats = _Output(stream), RepeatLimit()
    atexit.register(repeats.flush)
    structlog.configure(
        processors=[repeats, *(_console(colors=stream.isatty()) if console else [_JSON()])],
        # A class of its own, which set_level may change: structlog's is shared.
        wrapper_class=type("Logger", (structlog.make_filtering_bound_logger(levels[level.upper()]),), {}),
        logger_factory=lambda *_: output,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Forward(level=max(levels[level.upper()], logging.WARNING))]


def set_level(level: str) -> None:
    """Change the least severe level that is written, also by loggers that are in use. :func:`configure` was called."""
    in_use: type = structlog.get_config()["wrapper_class"]
    number = logging.getLevelNamesMapping()[level.upper()]
    wanted = structlog.make_filtering_bound_logger(number)
    # Loggers keep the class that they were made with: it takes the methods of the other level's class.
    for name, member in vars(wanted).items():
        if callable(member) and not name.startswith("__"):
            setattr(in_use, name, member)
    for handler in logging.getLogger().handlers:
        handler.setLevel(max(number, logging.WARNING))


class _Output:
    """Writes each line at once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream.buffer

    def write(self, line: bytes) -> None:
        try:
            self._stream.write(line)
            self._stream.flush()
        except (OSError, ValueError):
            # The reader of the log has gone, or its disk is full. There is no other place to report it; calls go on.
            return

    debug = info = warning = error = critical = msg = write


class _JSON:
    """Renders a line in one step: each further processor would cost every call of the server."""

    def __init__(self) -> None:
        self._encode = msgspec.json.Encoder(enc_hook=repr).encode
        self._second = (-1, "")

    def __call__(self, logger: object, level: str, event: MutableMapping[str, Any]) -> bytes:
        if "exc_info" in event:
            event = structlog.processors.format_exc_info(logger, level, event)
        line = {"time": self._now(), "level": level, "event": event.pop("event"), **event}
        try:
            encoded = self._encode(line)
        except UnicodeEncodeError:
            encoded = self._encode({key: _printable(str(value)) for key, value in line.items()})
        # JSON itself escapes the other control characters. What is left would act on a terminal, or break the line.
        if not encoded.isascii() or b"\x7f" in encoded:
            encoded = _UNESCAPED.sub(lambda match: b"\\u%04x" % ord(match[0].decode()), encoded)
        return encoded + b"\n"

    def _now(self) -> str:
        """The time in UTC by ISO 8601, to the microsecond."""
        second, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        last, text = self._second  # read and written in one step, since every thread may log
        if second != last:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = (second, text)
        return f"{text}.{nanoseconds // 1000:06}Z"


def _console(*, colors: bool) -> list[structlog.typing.Processor]:
    return [
        _visible_facts,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
        structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=24, exception_formatter=_traceback),
        lambda logger, level, line: f"{line}\n".encode(errors="replace"),
    ]


def _traceback(stream: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    """Write a traceback, whose messages may quote anything."""
    text = io.StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    stream.write(_visible(text.getvalue()))


def _visible_facts(logger: object, level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape what the renderer writes as it is."""
    return {name: _visible(value) if isinstance(value, str) else value for name, value in event.items()}


def _visible(text: str) -> str:
    """The text with control characters escaped, apart from tabs and ends of lines."""
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


def _printable(text: str) -> str:
    return text.encode(errors="replace").decode()


class _Forward(logging.Handler):
    """Passes the lines of libraries that use :mod:`logging` to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            record.levelno,
            record.getMessage(),
            logger=record.name,
            exc_info=record.exc_info or None,
            **{TEMPLATE: str(record.msg)},
        )
