"""HTTP/2 byte by byte, for what no client library sends."""

from __future__ import annotations

import socket
import struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"
"""What a connection begins with, empty settings included."""
_HEADERS: Final = 1
_RESET: Final = 3
_SETTINGS: Final = 4
_END_HEADERS: Final = 4
_ACK: Final = 1
_CANCEL: Final = struct.pack(">I", 8)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def headers(path: str) -> bytes:
    """The headers of a gRPC call, without compression."""
    named = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "test",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    return b"".join(
        b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in named.items()
    )


def resets(path: str, first: int, count: int) -> bytes:
    """Calls that are opened and reset at once; ``first``: the odd number of the first stream."""
    block = headers(path)
    streams = range(first, first + 2 * count, 2)
    return b"".join(
        frame(_HEADERS, _END_HEADERS, number, block) + frame(_RESET, 0, number, _CANCEL) for number in streams
    )


def connect(address: str, *, timeout: float = 5.0) -> socket.socket:
    """A connection on which calls can be made."""
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout)
    connection.sendall(PREFACE)
    connection.recv(1000)  # the settings of the server
    connection.sendall(frame(_SETTINGS, _ACK, 0, b""))
    return connection
