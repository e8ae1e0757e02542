"""Callers without API keys: the authenticators of client certificates and of tokens, and changes of their settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mcp_server.errors import ConfigError
from mcp_server.interfaces import Authenticator
from mcp_server.middleware.authentication.certificate import CertificateAuthenticator
from mcp_server.settings import AuthSettings
from mcp_server.values import Clock

if TYPE_CHECKING:
    from mcp_server.middleware.authentication.jwt.authenticator import JWTAuthenticator
    from mcp_server.middleware.authentication.jwt.fetcher import FetchObserver


class Identities:
    """Has the authenticators of one server.

    Args:
        settings: issuers and rows of certificates. The libraries for tokens are imported only if there are issuers.
        clock: the time, in nanoseconds since the Unix epoch.
        observe: called after each fetch of the keys of an issuer.

    Raises:
        ConfigError: the extra ``auth`` is missing, or the keys of an issuer cannot be read.
    """

    def __init__(self, settings: AuthSettings, clock: Clock, observe: FetchObserver) -> None:
        self._certificates = CertificateAuthenticator(settings.certificates)
        self._tokens = _token_authenticator(settings, clock, observe) if settings.jwt else None

    @property
    def authenticators(self) -> Sequence[Authenticator]:
        """All of them."""
        return [self._certificates] if self._tokens is None else [self._certificates, self._tokens]

    async def open(self) -> None:
        """Fetch the keys of issuers, and keep them fresh."""
        if self._tokens is not None:
            await self._tokens.open()

    async def close(self) -> None:
        """Stop."""
        if self._tokens is not None:
            await self._tokens.close()

    def prepare(self, settings: AuthSettings) -> Callable[[], None]:
        """Read the files that new settings name, on any thread; return what makes the settings take effect.

        Raises:
            ConfigError: a file cannot be used.
        """
        tokens = self._tokens
        issuers = tokens.prepare(settings.jwt) if tokens is not None else {}

        def use() -> None:
            self._certificates.replace_settings(settings.certificates)
            if tokens is not None:
                tokens.use(issuers)

        return use


def _token_authenticator(settings: AuthSettings, clock: Clock, observe: FetchObserver) -> JWTAuthenticator:
    try:
        from mcp_server.middleware.authentication.jwt.authenticator import JWTAuthenticator
    except ModuleNotFoundError as error:
        raise ConfigError("auth.jwt: needs the extra `auth`: pip install 'contextprotocol[auth]'") from error
    return JWTAuthenticator(settings.jwt, clock, observe)
