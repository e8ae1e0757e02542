"""Reads streams with the blocking client, or with gRPC alone, in a process whose CPU time is what is measured.

Each line of standard input names a way and how many streams are read, one after the other; the answer is the CPU time
that this took, in seconds.
"""

from __future__ import annotations

import sys
import time

import grpc
from grpc.experimental import ChannelOptions

from contextprotocol.v1 import chat_pb2, chat_pb2_grpc, message_pb2
from mcp_client import MCPSyncClient
from tests.bench.load import TEXT


def main(address: str) -> None:
    """Read until standard input ends."""
    channel = grpc.insecure_channel(address, options=[(ChannelOptions.SingleThreadedUnaryStream, 1)])
    message = message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text=TEXT)])
    request = chat_pb2.ChatRequest(model="upstream/burst", messages=[message])
    stub = chat_pb2_grpc.ChatServiceStub(channel)
    with channel, MCPSyncClient(address) as client:

        def bare() -> None:
            for event in stub.StreamChat(request):
                _ = event.delta.text

        def whole() -> None:
            with client.stream_chat(TEXT, model="upstream/burst") as stream:
                for _ in stream:
                    pass

        ways = {"grpc": bare, "client": whole}
        while line := sys.stdin.readline().split():
            way, streams = ways[line[0]], int(line[1])
            before = time.process_time()
            for _ in range(streams):
                way()
            print(time.process_time() - before, flush=True)  # noqa: T201  # this is how the benchmark learns it


if __name__ == "__main__":
    main(f"127.0.0.1:{sys.argv[1]}")
