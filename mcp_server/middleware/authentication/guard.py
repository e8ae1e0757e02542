"""The middleware that authenticates every call before its request is decoded."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Final

import structlog

from mcp_server.errors import BadCredentials, NotAllowed, Overloaded
from mcp_server.interfaces import Authenticator, Call, GRPCService
from mcp_server.middleware.authentication.failures import Failures, host_of
from mcp_server.middleware.authentication.scopes import OPEN, Rule, rules
from mcp_server.principal import MISSING, STRANGER, Principal

log = structlog.get_logger("contextprotocol.authentication")

CHECK_SECONDS: Final = 0.5
"""The interval at which the credentials of running streams are authenticated again."""
CHECK_TIMEOUT: Final = 5.0
"""How long that may take, in seconds, before it counts as failed."""
MAX_OPEN_STREAMS: Final = 256
"""How many streams one host may hold open without credentials: watches of the health."""
_UNKNOWN: Final = frozenset({"operator"})
"""The rule of a method that no table names."""
_CHECKED_AT_ONCE: Final = 64
_TWO: Final = "the call has two credentials: send one"
_ENDED: Final = "the credentials of this call are not valid any more, or do not permit it any more"


class Authentication:
    """A :data:`~mcp_server.interfaces.Middleware` that sets the principal of each call, or refuses the call.

    Streams whose credentials lose their validity are ended; one background task (:meth:`run`) does that for all.

    Args:
        authenticators: each is asked about every call.
        services: served beside the contract's own; each may declare a scope.

    Raises:
        ConfigError: a service declares a scope that does not exist.
    """

    def __init__(self, authenticators: Sequence[Authenticator], services: Iterable[GRPCService] = ()) -> None:
        self._authenticators = tuple(authenticators)
        self._rules = rules(services)
        self._failures = Failures()
        self._streams: dict[str, set[_AuthenticatedCall]] = {}
        self._open_streams: Counter[str] = Counter()
        self._check_now = asyncio.Event()

    def __call__(self, call: Call) -> _AuthenticatedCall:
        """Authenticate ``call``."""
        return _AuthenticatedCall(self, call)

    def check_now(self) -> None:
        """Authenticate all running streams again at once: a credential has been revoked."""
        self._check_now.set()

    async def run(self) -> None:
        """Authenticate running streams again, once per interval or when asked to, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._check_now.wait()
            except TimeoutError:
                pass
            self._check_now.clear()
            await self._check()

    # -- calls --------------------------------------------------------------------------------------------------------

    async def _admit(self, call: Call) -> None:
        """Set the principal of a call.

        Raises:
            BadCredentials: it has none, two, or one that is not valid.
            NotAllowed: its credentials do not permit the method.
        """
        call.principal = STRANGER
        rule = self._rule(call)
        try:
            principal = await self._principal(call)
            if principal is None:
                if rule is not OPEN:
                    raise BadCredentials(MISSING)
                return
        except BadCredentials:
            await self._failures.delay(call.peer)
            raise
        call.principal = principal
        if rule and not _permits(principal, rule):
            needed = " or ".join(f"`{scope}`" for scope in sorted(rule))
            raise NotAllowed(f"{call.service}/{call.method} requires the scope {needed}, which the credentials lack")

    async def _principal(self, call: Call) -> Principal | None:
        found = None
        for authenticator in self._authenticators:
            principal = await authenticator.authenticate(call)
            if principal is not None:
                if found is not None:
                    raise BadCredentials(_TWO)
                found = principal
        if "authorization" in call.repeated:
            raise BadCredentials(_TWO)
        return found

    # -- streams ------------------------------------------------------------------------------------------------------

    def _add(self, stream: _AuthenticatedCall) -> None:
        if stream.credential is None:
            if self._open_streams[stream.host] >= MAX_OPEN_STREAMS:
                raise Overloaded(
                    f"{MAX_OPEN_STREAMS} streams without credentials are open from this host: send credentials",
                    retry_after=1.0,
                )
            self._open_streams[stream.host] += 1
        else:
            self._streams.setdefault(stream.credential, set()).add(stream)

    def _remove(self, stream: _AuthenticatedCall) -> None:
        if stream.credential is None:
            self._open_streams[stream.host] -= 1
            if not self._open_streams[stream.host]:
                del self._open_streams[stream.host]
        else:
            streams = self._streams[stream.credential]
            streams.remove(stream)
            if not streams:
                del self._streams[stream.credential]

    async def _check(self) -> None:
        """Authenticate one stream of each credential, and end all those that it does not permit any more."""
        groups = [[*streams] for credential, streams in self._streams.items() if credential]
        groups += [[stream] for stream in self._streams.get("", ())]
        for start in range(0, len(groups), _CHECKED_AT_ONCE):
            await asyncio.gather(*map(self._check_group, groups[start : start + _CHECKED_AT_ONCE]))

    async def _check_group(self, streams: Sequence[_AuthenticatedCall]) -> None:
        principal: Principal | None = None
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                principal = await self._principal(streams[0].call)
        except BadCredentials:
            pass
        except Exception as error:  # the credential may still be valid: the next check decides
            log.warning("running streams not authenticated again", exc_info=error)
            return
        for stream in streams:
            if (
                principal is None
                or principal.tenant != stream.tenant
                or not _permits(principal, self._rule(stream.call))
            ):
                stream.end()

    def _rule(self, call: Call) -> Rule:
        return self._rules.get((call.service, call.method), _UNKNOWN)


def _permits(principal: Principal, rule: Rule) -> bool:
    """Whether a caller may call the methods with that rule."""
    return not rule or any(map(principal.allows, rule))


class _AuthenticatedCall:
    """Entered around one call."""

    __slots__ = ("_authentication", "_cancelling", "_ended", "_task", "call", "credential", "host", "tenant")

    def __init__(self, authentication: Authentication, call: Call) -> None:
        self._authentication = authentication
        self.call = call
        self.credential: str | None = None
        """Of a stream: what identifies its credential; ``None``: it has none."""
        self.tenant = ""
        """Of a stream: the tenant of its credential when it began."""
        self.host = ""
        """Of a stream without a credential: where it comes from."""
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._ended = False

    async def __aenter__(self) -> None:
        call = self.call
        await self._authentication._admit(call)
        if call.kind != "unary":
            # Noted here, since middleware inside may change the principal.
            if call.principal is STRANGER:
                self.host = host_of(call.peer)
            else:
                self.credential, self.tenant = call.principal.credential, call.principal.tenant
            self._authentication._add(self)
            self._task = asyncio.current_task()
            assert self._task is not None
            self._cancelling = self._task.cancelling()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task = self._task
        if task is None:
            return
        self._task = None
        self._authentication._remove(self)
        # As asyncio.timeout does: if somebody else has cancelled the task too, it stays cancelled.
        if self._ended and task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise BadCredentials(_ENDED) from error

    def end(self) -> None:
        """End the call, if it still runs, with BadCredentials."""
        if self._task is not None and not self._ended:
            self._ended = True
            self._task.cancel()
