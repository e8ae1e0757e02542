"""The admin port: what operators, orchestrators and Prometheus read over HTTP."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from mcp_client import MCPClient
from mcp_server.admin.endpoint import MAX_READERS
from mcp_server.admin.pages import from_this_machine
from mcp_server.app import UnifiedMCPServer
from mcp_server.errors import ConfigError, StoreUnavailable
from mcp_server.interfaces import Change, Changed, Decide, Finish
from mcp_server.settings import AdminSettings, AuthSettings, Config, MetricsSettings, admin_addresses, tables
from mcp_server.settings import testing_config as settings
from mcp_server.stores.memory import MemoryStore
from mcp_server.stores.sqlite.store import SQLiteStore
from mcp_server.testing import EchoProvider, Gate, ScriptedProvider, running
from tests.auth.keys import new_key

replace = msgspec.structs.replace
ECHO = {"echo": EchoProvider()}


def served(default_model: str = "echo/echo", address: str = "127.0.0.1:0") -> Config:
    """Settings with the pages on any free port."""
    return replace(settings(default_model=default_model), admin=AdminSettings(address=address))


async def get(server: UnifiedMCPServer, path: str, **headers: str) -> tuple[int, str]:
    """The status and the text of a page."""
    request = urllib.request.Request(f"http://{server.admin_address}{path}", headers=headers)  # our own

    def read() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310  # our own server
                return response.status, response.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()

    return await asyncio.to_thread(read)


async def test_a_server_that_runs_is_healthy_and_ready(tmp_path: Path) -> None:
    """With the metrics beside; other paths name those that exist. A check leaves nothing in the store."""
    store = SQLiteStore(tmp_path / "sessions.db")
    async with running(served(), providers=ECHO, store=store) as server:
        assert await get(server, "/healthz") == (HTTPStatus.OK, "ok\n")
        assert await get(server, "/readyz") == (HTTPStatus.OK, "ready\n")
        status, text = await get(server, "/metrics")
        assert (status, "contextprotocol_config_version 1.0" in text) == (HTTPStatus.OK, True)
        status, text = await get(server, "/health")
        assert (status, "/healthz" in text) == (HTTPStatus.NOT_FOUND, True)
        assert await store.forget(1 << 62, 10) == 0


async def test_turns_that_run_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With their name, tenant, model, state and age, and not with what was said."""
    gate = Gate()
    async with (
        running(served("slow/scripted"), providers={"slow": ScriptedProvider(["a", gate, Finish()])}) as server,
        MCPClient(server.address) as client,
    ):
        assert json.loads((await get(server, "/debug/turns"))[1]) == {"turns": []}
        call = asyncio.create_task(client.chat("my secret"))
        await gate.reached.wait()
        status, text = await get(server, "/debug/turns")
        (turn,) = json.loads(text)["turns"]
        assert status == HTTPStatus.OK
        assert turn["name"].startswith("turns/")
        assert 0 <= turn.pop("age_seconds") < 10
        del turn["name"]
        assert turn == {"tenant": "default", "service": "chat", "model": "slow/scripted", "state": "running"}
        assert "secret" not in text
        gate.open()
        await call


async def test_a_server_that_drains_is_healthy_and_not_ready() -> None:
    """From the signal on, while its last turns end."""
    gate = Gate()
    server = UnifiedMCPServer(served("slow/scripted"), providers={"slow": ScriptedProvider([gate, "a", Finish()])})
    await server.start()
    async with MCPClient(server.address) as client:
        call = asyncio.create_task(client.chat("hello"))
        await gate.reached.wait()
        stopping = asyncio.create_task(server.stop())
        await asyncio.sleep(0)
        assert await get(server, "/readyz") == (
            HTTPStatus.SERVICE_UNAVAILABLE,
            "not ready: the server starts or stops\n",
        )
        assert (await get(server, "/healthz"))[0] == HTTPStatus.OK
        gate.open()
        await call
        await stopping


class FullStore(MemoryStore):
    """A store whose disk fills up."""

    full = False

    async def change(self, tenant: str, session: str, decide: Decide, /, *arguments: Any, **named: Any) -> Changed:
        """Write, unless the disk is full."""

        def refuse(stored: Any) -> Change:
            if self.full:
                raise StoreUnavailable("the disk of the store is full")
            return decide(stored)

        return await super().change(tenant, session, refuse, *arguments, **named)


async def test_a_store_that_cannot_write_makes_the_server_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason; it is ready again once the store writes. What is written for that is deleted again."""
    monkeypatch.setattr("mcp_server.admin.readiness.KEPT_SECONDS", 0.0)
    store = FullStore()
    async with running(served(), providers=ECHO, store=store) as server:
        store.full = True
        status, text = await get(server, "/readyz")
        assert (status, text) == (HTTPStatus.SERVICE_UNAVAILABLE, "not ready: the disk of the store is full\n")
        store.full = False
        assert (await get(server, "/readyz"))[0] == HTTPStatus.OK
        assert await store.forget(1 << 62, 10) == 0


async def test_a_loop_that_hangs_is_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """``/healthz`` says so after a moment; the metrics are served meanwhile."""
    monkeypatch.setattr("mcp_server.admin.pages.LOOP_SECONDS", 0.05)
    found: list[str] = []

    def look(address: str) -> None:
        for path in ("/metrics", "/healthz"):
            try:
                with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as response:
                    found.append(f"{path} {response.status}")
            except urllib.error.HTTPError as refused:
                with refused:
                    found.append(f"{path} {refused.code} {refused.read().decode()}")

    async with running(served(), providers=ECHO) as server:
        looking = threading.Thread(target=look, args=(server.admin_address,))
        looking.start()
        looking.join()  # which blocks the loop
    assert found == ["/metrics 200", "/healthz 503 the event loop does not answer\n"]


async def test_only_get_and_head_are_answered() -> None:
    """HEAD without a body."""
    async with running(served(), providers=ECHO) as server:
        for method, status in (("HEAD", 200), ("POST", 405), ("DELETE", 405)):
            reader, writer = await asyncio.open_connection(*server.admin_address.split(":"))
            writer.write(f"{method} /healthz HTTP/1.0\r\n\r\n".encode())
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            assert f" {status} ".encode() in head
            assert bool(body) == (method != "HEAD")
            writer.close()
            await writer.wait_closed()


@pytest.mark.parametrize(
    ("environ", "allowed"),
    [
        ({"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "127.0.0.1:9464"}, True),
        ({"REMOTE_ADDR": "::1", "HTTP_HOST": "[::1]:9464"}, True),
        ({"REMOTE_ADDR": "::ffff:127.0.0.1", "HTTP_HOST": "localhost"}, True),
        ({"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "stranger.test:9464"}, False),
        ({"REMOTE_ADDR": "127.0.0.1"}, False),
        ({"REMOTE_ADDR": "192.0.2.1", "HTTP_HOST": "localhost:9464"}, False),
    ],
)
def test_running_turns_are_for_this_machine(environ: Mapping[str, str], allowed: bool) -> None:
    """By the address of the reader and by the name that it asks for."""
    assert from_this_machine(environ) is allowed


async def test_a_stranger_s_name_for_this_machine_reads_no_turns() -> None:
    """As a browser would send it that was led here by a web page."""
    async with running(served(), providers=ECHO) as server:
        assert (await get(server, "/debug/turns", Host="stranger.test"))[0] == HTTPStatus.FORBIDDEN
        assert (await get(server, "/healthz", Host="stranger.test"))[0] == HTTPStatus.OK


async def test_with_authentication_the_turns_need_an_operator() -> None:
    """On this machine too; from other machines the metrics do as well. Health and readiness stay open."""
    operator, chat = new_key(scopes=["operator"]), new_key(scopes=["chat"])
    auth = AuthSettings(keys={key.id: key.table for key in (operator, chat)})
    config = replace(served(), auth=auth, metrics=MetricsSettings(address="localhost:0"))
    stranger = {"Host": "stranger.test"}
    async with running(config, providers=ECHO) as server:
        for page, host, statuses in (
            ("/debug/turns", {}, (401, 401, 403, 200)),
            ("/debug/turns", stranger, (401, 401, 403, 200)),
            ("/metrics", {}, (200, 200, 200, 200)),
            ("/metrics", stranger, (401, 401, 403, 200)),
            ("/healthz", stranger, (200, 200, 200, 200)),
            ("/readyz", stranger, (200, 200, 200, 200)),
        ):
            for token, status in zip(("", "wrong", chat.secret, operator.secret), statuses, strict=True):
                headers = host | ({"Authorization": f"Bearer {token}"} if token else {})
                assert (await get(server, page, **headers))[0] == status, (page, headers)
        server.admin_address = server.metrics_address
        assert (await get(server, "/anything", **stranger))[0] == HTTPStatus.UNAUTHORIZED


@pytest.mark.parametrize(
    ("admin", "metrics", "pages", "alone"),
    [
        (None, None, "127.0.0.1:9464", ""),
        (None, "127.0.0.1:1", "127.0.0.1:1", ""),
        (None, "", "", ""),
        ("127.0.0.1:2", None, "127.0.0.1:2", ""),
        ("127.0.0.1:2", "", "127.0.0.1:2", ""),
        ("127.0.0.1:2", "0.0.0.0:1", "127.0.0.1:2", "0.0.0.0:1"),
        ("127.0.0.1:2", "127.0.0.1:2", "127.0.0.1:2", ""),
        ("", "127.0.0.1:1", "", "127.0.0.1:1"),
        ("", None, "", ""),
    ],
)
def test_metrics_address_works_as_before(admin: str | None, metrics: str | None, pages: str, alone: str) -> None:
    """Alone it is the address of all pages; beside ``admin.address`` it is a second port."""
    config = Config(admin=AdminSettings(address=admin), metrics=MetricsSettings(address=metrics))
    assert admin_addresses(config) == (pages, alone)


async def test_metrics_may_have_a_port_of_their_own() -> None:
    """It has no other page."""
    config = replace(served(), metrics=MetricsSettings(address="localhost:0"))
    async with running(config, providers=ECHO) as server:
        assert server.metrics_address.startswith("localhost:")
        assert server.metrics_address != server.admin_address
        assert (await get(server, "/metrics"))[0] == HTTPStatus.OK

        def read() -> str:
            with urllib.request.urlopen(f"http://{server.metrics_address}/debug/turns") as response:
                text: str = response.read().decode()
                return text

        assert "# HELP" in await asyncio.to_thread(read)


async def test_the_port_is_free_again_after_the_server_has_stopped() -> None:
    """Nothing answers there any more, and another may listen."""
    async with running(served(), providers=ECHO) as server:
        address = server.admin_address
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*address.split(":"))
    async with running(served(address=address), providers=ECHO) as server:
        assert server.admin_address == address


@pytest.mark.parametrize("key", ["admin", "metrics"])
async def test_a_port_in_use_is_an_error_of_the_setting(key: str) -> None:
    """The message names the key to change."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        config = served(address=address)
        if key == "metrics":
            config = replace(config, admin=AdminSettings(), metrics=MetricsSettings(address=address))
        with pytest.raises(ConfigError, match=rf"^{key}\.address: cannot listen on {address}: "):
            async with running(config, providers=ECHO):
                pass


async def test_the_default_port_in_use_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second server of a machine starts all the same: nobody has asked for its metrics."""
    config = replace(settings(default_model="echo/echo"), metrics=MetricsSettings())
    with socket.create_server(("127.0.0.1", 0)) as taken, capture_logs() as logs:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setattr(tables, "ADMIN_ADDRESS", address)
        async with running(config, providers=ECHO) as server:
            assert (server.admin_address, server.metrics_address) == ("", "")
    (line,) = [line for line in logs if line["event"] == "metrics and admin pages are not served"]
    assert line["problem"].startswith(f"admin.address: cannot listen on {address}: ")


async def test_readers_that_say_nothing_take_few_threads() -> None:
    """Further connections are closed at once, and pages are served again when the silent ones have gone."""
    async with running(served(), providers=ECHO) as server:
        host, port = server.admin_address.split(":")
        before = threading.active_count()
        silent = [await asyncio.open_connection(host, port) for _ in range(MAX_READERS)]
        late, late_writer = await asyncio.open_connection(host, port)
        assert await late.read() == b""
        assert threading.active_count() - before <= MAX_READERS
        for writer in (late_writer, *[writer for _, writer in silent]):
            writer.close()
            await writer.wait_closed()
        text = b""
        while b"grpc_server_started_total" not in text:
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
            text = await reader.read()
            writer.close()
            await writer.wait_closed()
