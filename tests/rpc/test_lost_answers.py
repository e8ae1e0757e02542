"""A caller that breaks its connection while its answer is sent is no error of the server."""

from __future__ import annotations

import logging

import grpc.aio
import pytest

from tests.wire import Wire

GRPC = logging.getLogger("grpc._cython.cygrpc")
"""Where gRPC logs what is raised around handlers. It is a race which calls that meets."""


def log(error: Exception) -> None:
    """As gRPC does."""
    try:
        raise error
    except type(error):
        GRPC.exception("%s raised in core by servicer method [%s]", type(error).__name__, "/a/b")


async def test_only_answers_that_cannot_be_sent_are_kept_out_of_the_log(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    """Everything else that gRPC reports is written."""
    with caplog.at_level(logging.ERROR):
        log(grpc.aio.InternalError('Failed "execute_batch"'))
        log(RuntimeError("broken"))
        GRPC.error("something else")
    assert [record.getMessage() for record in caplog.records] == [
        "RuntimeError raised in core by servicer method [/a/b]",
        "something else",
    ]
