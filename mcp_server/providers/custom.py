"""The provider ``custom``: any class, with keyword arguments from the settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from mcp_server.entry_points import EntryPoints, load_object
from mcp_server.errors import ConfigError
from mcp_server.plugin_settings import PluginSettings, ProviderSettings, Secret

if TYPE_CHECKING:
    from mcp_server.interfaces import Provider


class CustomSettings(ProviderSettings, kw_only=True):
    """A provider of your own, without a settings table."""

    class_: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z_][\w.-]*(:[A-Za-z_][\w.]*)?$",
            extra={"allowed": '"package.module:Class", or the name of an entry point'},
        ),
    ] = msgspec.field(name="class")
    """``package.module:Class``, or the name of an entry point of the group ``contextprotocol.providers``."""
    options: Mapping[str, Any] = {}
    """Keyword arguments of the class."""
    secrets: Mapping[str, Secret] = {}
    """Further keyword arguments that are never shown, such as API keys and passwords."""

    def build(self, name: str) -> Provider:
        """Call the class."""
        secrets = {key: secret.reveal() for key, secret in self.secrets.items()}
        try:
            provider: Provider = _find(self.class_)(**self.options, **secrets)
        except Exception as error:
            text = str(error)
            for secret in secrets.values():  # the class may quote what it was called with
                text = text.replace(secret, "***")
            raise ConfigError(f"providers.{name}.class: {self.class_} cannot be used: {text}") from error
        return provider

    def problems(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Each keyword argument once."""
        for twice in self.options.keys() & self.secrets.keys():
            yield ("secrets", twice), "is also a key of options; set one of the two"


def _find(name: str) -> Callable[..., Any]:
    """The class of that name."""
    if ":" in name:
        found: Callable[..., Any] = load_object(name)
        return found
    found = EntryPoints().load("contextprotocol.providers", name)
    if isinstance(found, type) and issubclass(found, PluginSettings):
        raise ConfigError(f'it has a settings table of its own: write type = "{name}"')
    return found
