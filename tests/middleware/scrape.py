"""Reads the metrics of a running server over HTTP, as Prometheus does."""

from __future__ import annotations

import asyncio
import urllib.request

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from mcp_server.settings import Config, MetricsSettings
from mcp_server.settings import testing_config as settings
from tests.wire import Wire

CHAT = {
    "grpc_type": "unary",
    "grpc_service": "contextprotocol.v1.ChatService",
    "grpc_method": "Chat",
}
ECHO = {"provider": "echo", "model": "echo"}


def served(default_model: str = "echo/echo", **fields: object) -> Config:
    """Settings with metrics on any free port."""
    config = settings(default_model=default_model)
    return msgspec.structs.replace(config, metrics=MetricsSettings(address="127.0.0.1:0"), **fields)


async def read_text(wire: Wire) -> str:
    """The page."""
    port = wire.server.metrics_port

    def get() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:  # our own server
            text: str = response.read().decode()
            return text

    return await asyncio.to_thread(get)


async def read(wire: Wire) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample, by its name and labels."""
    samples = {}
    for family in text_string_to_metric_families(await read_text(wire)):
        for sample in family.samples:
            samples[sample.name, frozenset(sample.labels.items())] = sample.value
    return samples


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())
