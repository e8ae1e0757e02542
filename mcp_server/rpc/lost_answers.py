"""Keeps answers that no caller received out of the log of errors."""

from __future__ import annotations

import logging
from typing import Final

import grpc.aio

_LOGGER: Final = logging.getLogger("grpc._cython.cygrpc")


class LostAnswers(logging.Filter):
    """Drops the line that gRPC logs, as an error with a traceback, when a connection breaks while the answer of a unary
    call is sent. The caller has left; whoever opens connections and breaks them could fill the log."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        return record.exc_info is None or not isinstance(record.exc_info[1], grpc.aio.InternalError)


_FILTER: Final = LostAnswers()


def keep_out_of_log() -> None:
    """Do so from now on."""
    _LOGGER.addFilter(_FILTER)
