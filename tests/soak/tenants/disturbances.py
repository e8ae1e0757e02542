"""What happens to the tenants and their server, one thing at a time."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from mcp_client import BadCredentials, Limits, MCPClient, MCPError, ProviderError, QuotaExceeded, Retry
from tests.soak.hostile.clients import RETRY
from tests.soak.tenants.clients import PATIENCE, Notes
from tests.soak.tenants.process import TenantServer
from tests.soak.tenants.provider import SLOW, Provider
from tests.soak.tenants.tenants import UNLIMITED, SettingsFile, Tenant

REVOKED: Final = 1.0
"""Seconds after which a revoked key is of no use any more."""
SLACK: Final = 1.5
"""Seconds more in which a loaded machine has its callers notice."""
RELOADED: Final = 10.0
"""Seconds that a change of the settings may take on a loaded machine."""
BUDGET: Final = 300
"""Tokens that are soon used up."""


@asynccontextmanager
async def opened(address: str, secret: str, *, retry: Retry | None = RETRY) -> AsyncIterator[MCPClient]:
    """A client with an API key."""
    async with MCPClient(address, api_key=secret, retry=retry) as client:
        yield client


class Disturbances:
    """All of them.

    Args:
        server: suffers from them.
        settings: its settings file.
        provider: is to know when the process was killed.
        admins: a client of each tenant that may do everything, by the tenant's name.
        notes: are kept.
        generator: decides.

    Attributes:
        counts: how often each happened.
        slowest: how long a stream of a revoked key went on at most, in seconds.
        revoked: the secrets of keys that are of no use any more, and whose they were.
    """

    def __init__(
        self,
        server: TenantServer,
        settings: SettingsFile,
        provider: Provider,
        admins: Mapping[str, MCPClient],
        notes: Notes,
        generator: random.Random,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.slowest = 0.0
        self.revoked: list[tuple[Tenant, str]] = []
        self._server = server
        self._settings = settings
        self._provider = provider
        self._admins = admins
        self._notes = notes
        self._random = generator
        self._serial = 0

    async def run(self, stopped: asyncio.Event, *, lives: bool) -> None:
        """Cause one after the other until stopped; ``lives``: also ends of the process."""
        causes: list[tuple[str, Callable[[Tenant], Awaitable[None]]]] = [
            ("key revoked", self._revoke),
            ("key removed from the settings", self._remove_key),
            ("budget of a tenant used up", self._use_up_tenant),
            ("budget of a key used up", self._use_up_key),
            ("price changed", self._change_price),
            ("settings that cannot be used", self._break_settings),
        ]
        if lives:
            causes += [("kill -9", self._kill), ("SIGTERM", self._terminate)]
        while True:
            for name, cause in self._random.sample(causes, len(causes)):
                if stopped.is_set():
                    return
                tenant = self._random.choice(self._notes.tenants)
                try:
                    async with asyncio.timeout(2 * PATIENCE):
                        await cause(tenant)
                except (AssertionError, MCPError, TimeoutError) as error:  # shown at the end, with all that follows
                    self._notes.problems.append(f"{name}, {tenant.name}: {type(error).__name__}: {error}")
                self.counts[name] += 1
                await asyncio.sleep(self._random.uniform(0.1, 0.5))

    async def still_refused(self) -> Sequence[str]:
        """The revoked keys that can be used; none may be."""
        wrong = []
        for tenant, secret in self.revoked:
            async with opened(self._settings.address, secret, retry=None) as client:
                try:
                    await client.whoami()
                except BadCredentials:
                    continue
            wrong.append(f"a revoked key of {tenant.name} can be used")
        return wrong

    # -- the process --------------------------------------------------------------------------------------------------

    async def _kill(self, _: Tenant) -> None:
        await self._server.kill()
        self._provider.note_kill()
        await self._server.start()

    async def _terminate(self, _: Tenant) -> None:
        status = await self._server.terminate()
        self._provider.note_kill()
        assert status == 0, f"exit status {status}"
        await self._server.start()

    # -- keys ---------------------------------------------------------------------------------------------------------

    async def _revoke(self, tenant: Tenant) -> None:
        """The stream of a key that is revoked ends, and nothing can be done with it any more."""
        admin = self._admins[tenant.name]
        created = await admin.create_key(scopes=["chat", "sessions.read", "sessions.write"], timeout=PATIENCE)

        async def revoke() -> None:
            await admin.revoke_key(created.key, timeout=PATIENCE)

        await self._cut_off(tenant, created.secret, created.key.id, revoke, within=REVOKED + SLACK)
        self.revoked.append((tenant, created.secret))

    async def _remove_key(self, tenant: Tenant) -> None:
        """The same for a key that leaves the settings; when it is back, it can be used again."""
        guest = tenant.guest

        async def remove() -> None:
            self._settings.guests.discard(tenant.name)
            self._reload()

        try:
            await self._cut_off(tenant, guest.secret, guest.id, remove, within=RELOADED)
        finally:
            self._settings.guests.add(tenant.name)
            self._reload()
        async with opened(self._settings.address, guest.secret, retry=None) as client, asyncio.timeout(RELOADED):
            while True:
                try:
                    await client.whoami()
                except BadCredentials:
                    await asyncio.sleep(0.05)
                else:
                    break

    async def _cut_off(
        self, tenant: Tenant, secret: str, key: str, revoke: Callable[[], Awaitable[None]], *, within: float
    ) -> None:
        """See that a stream with this key ends after ``revoke``."""
        async with opened(self._settings.address, secret, retry=None) as client:
            session = await self._begin(client, tenant)
            question = self._question(tenant, key, SLOW)
            try:
                async with client.stream_chat(
                    question, session=session, request_id=question.split()[1], timeout=PATIENCE
                ) as stream:
                    await anext(stream)
                    begin = time.monotonic()
                    await revoke()
                    async for _ in stream:
                        assert time.monotonic() - begin < within, "the stream of a revoked key goes on"
            except BadCredentials as error:
                self._notes.look(tenant, error)
                assert error.code == "UNAUTHENTICATED", error.code
                self.slowest = max(self.slowest, time.monotonic() - begin)
                assert time.monotonic() - begin < within, "the stream of a revoked key went on too long"
            except (QuotaExceeded, ProviderError):
                await revoke()  # the tenant itself may do no more now
            else:
                raise AssertionError("the stream of a revoked key was completed")
            if within < RELOADED:
                try:
                    await client.get_session(session, timeout=PATIENCE)
                except BadCredentials:
                    return
                raise AssertionError("a revoked key can be used")

    # -- budgets ------------------------------------------------------------------------------------------------------

    async def _use_up_tenant(self, tenant: Tenant) -> None:
        """What is beyond the budget of a tenant is refused, and not when the profile has been raised."""
        admin = self._admins[tenant.name]
        self._settings.budgets[tenant.name] = await self._used(admin) + BUDGET
        self._reload()
        try:
            session = await self._begin(admin, tenant)
            question = await self._use_up(admin, tenant, tenant.keys[0].id, session, subject=f"tenants/{tenant.name}")
        finally:
            self._settings.budgets[tenant.name] = UNLIMITED
            self._reload()
        await self._allowed_again(admin, question, session)

    async def _use_up_key(self, tenant: Tenant) -> None:
        """The same for the limits of a key, which are raised by a call."""
        admin = self._admins[tenant.name]
        created = await admin.create_key(
            scopes=["chat", "sessions.read", "sessions.write"],
            limits=Limits(tokens_per_month=BUDGET),
            timeout=PATIENCE,
        )
        key = created.key.id
        async with opened(self._settings.address, created.secret) as client:
            session = await self._begin(client, tenant)
            question = await self._use_up(client, tenant, key, session, subject=f"keys/{key}")
            await admin.update_key(key, limits=Limits(tokens_per_month=UNLIMITED), timeout=PATIENCE)
            await self._allowed_again(client, question, session)
        await admin.revoke_key(key, timeout=PATIENCE)
        self.revoked.append((tenant, created.secret))

    async def _use_up(self, client: MCPClient, tenant: Tenant, key: str, session: str, *, subject: str) -> str:
        """Return the question that was refused because nothing is left."""
        async with asyncio.timeout(PATIENCE):
            while True:
                question = self._question(tenant, key, "30")
                try:
                    await client.chat(question, session=session, request_id=question.split()[1], timeout=PATIENCE)
                except ProviderError:
                    continue
                except QuotaExceeded as error:
                    self._notes.look(tenant, error)
                    if error.limit == "tokens_per_month":
                        assert error.subject == subject, f"{error.subject}, not {subject}"
                        return question
                    await asyncio.sleep(0.05)

    async def _allowed_again(self, client: MCPClient, question: str, session: str) -> None:
        """The same request is accepted; its ``request_id`` is unused."""
        async with asyncio.timeout(RELOADED):
            while True:
                try:
                    await client.chat(question, session=session, request_id=question.split()[1], timeout=PATIENCE)
                except QuotaExceeded:
                    await asyncio.sleep(0.05)
                    continue
                except ProviderError:
                    pass
                return

    @staticmethod
    async def _used(client: MCPClient) -> int:
        limits = (await client.whoami(timeout=PATIENCE)).limits
        return next(int(limit.used) for limit in limits if limit.limit == "tokens_per_month")

    # -- settings -----------------------------------------------------------------------------------------------------

    async def _change_price(self, _: Tenant) -> None:
        self._settings.price = self._random.choice((0.5, 1.0, 3.0))
        self._reload()

    async def _break_settings(self, tenant: Tenant) -> None:
        """A file that cannot be used changes nothing."""
        self._settings.path.write_text("[limits\n")
        self._server.reload()
        await asyncio.sleep(0.3)
        await self._admins[tenant.name].whoami(timeout=PATIENCE)
        self._reload()

    def _reload(self) -> None:
        self._settings.write()
        self._server.reload()

    async def _begin(self, client: MCPClient, tenant: Tenant) -> str:
        self._serial += 1
        name = f"{tenant.name}-disturbed-{self._serial}"
        session = await client.create_session(name, request_id=name, timeout=PATIENCE)
        self._notes.sessions[tenant.name].add(session.name)
        return session.name

    def _question(self, tenant: Tenant, key: str, words: str) -> str:
        self._serial += 1
        request_id = f"{tenant.name}-disturbed-{self._serial}"
        self._notes.keys[request_id] = key
        return f"{tenant.canary} {request_id} {words}"
