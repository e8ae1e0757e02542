"""Every setting of the server, and where the effective values come from."""

import importlib
import warnings
from typing import Any, Final

from mcp_server.plugin_settings import ModelFile, PluginSettings, ProviderSettings, Secret, Settings
from mcp_server.plugins import built_in
from mcp_server.settings.auth import AuthSettings, KeySettings
from mcp_server.settings.exposure import check_exposure, is_loopback, web_authentication
from mcp_server.settings.fields import split_address
from mcp_server.settings.identities import CertificateSettings, JWTIssuerSettings
from mcp_server.settings.load import (
    DEMO_FILE,
    Loaded,
    load,
    prepare_grpc,
    read,
    read_table,
    settings_file,
    testing_config,
)
from mcp_server.settings.tables import (
    AdminSettings,
    AdmissionSettings,
    Config,
    LimitSettings,
    LogSettings,
    MetricsSettings,
    ModelOverrides,
    ModelSettings,
    PriceSettings,
    RouteSettings,
    RoutingSettings,
    ServerSettings,
    SessionSettings,
    TenantSettings,
    TLSSettings,
    TracingSettings,
    TurnSettings,
    WindowSettings,
    admin_addresses,
    admin_key,
)
from mcp_server.settings.web import CORSSettings, WebPaths, WebSettings, WebTLSSettings

__all__ = [
    "DEMO_FILE",
    "AdminSettings",
    "AdmissionSettings",
    "AuthSettings",
    "CORSSettings",
    "CertificateSettings",
    "Config",
    "JWTIssuerSettings",
    "KeySettings",
    "LimitSettings",
    "Loaded",
    "LogSettings",
    "MetricsSettings",
    "ModelFile",
    "ModelOverrides",
    "ModelSettings",
    "PluginSettings",
    "PriceSettings",
    "ProviderSettings",
    "RouteSettings",
    "RoutingSettings",
    "Secret",
    "ServerSettings",
    "SessionSettings",
    "Settings",
    "TLSSettings",
    "TenantSettings",
    "TracingSettings",
    "TurnSettings",
    "WebPaths",
    "WebSettings",
    "WebTLSSettings",
    "WindowSettings",
    "admin_addresses",
    "admin_key",
    "check_exposure",
    "is_loopback",
    "load",
    "prepare_grpc",
    "read",
    "read_table",
    "settings_file",
    "split_address",
    "testing_config",
    "web_authentication",
]

MOVED: Final = {
    "CustomSettings": "mcp_server.providers.custom",
    "HuggingFaceModel": "mcp_server.providers.huggingface.settings",
    "HuggingFaceSettings": "mcp_server.providers.huggingface.settings",
    "LlamaCppModel": "mcp_server.providers.llama_cpp.settings",
    "LlamaCppSettings": "mcp_server.providers.llama_cpp.settings",
    "OpenAIModel": "mcp_server.providers.openai.settings",
    "OpenAISettings": "mcp_server.providers.openai.settings",
}
"""Names that were here, and the modules where they are now; importable from here until the next minor release."""


def __getattr__(name: str) -> Any:
    """Import a name that has moved."""
    if name == "StoreSettings":
        warnings.warn(f"{__name__}.StoreSettings is now a table of each store", DeprecationWarning, stacklevel=2)
        return _store_settings
    if name not in MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"{__name__}.{name} is now {MOVED[name]}.{name}", DeprecationWarning, stacklevel=2)
    return getattr(importlib.import_module(MOVED[name]), name)


def _store_settings(*, type: str = "sqlite", **keys: Any) -> PluginSettings:
    """The table of a built-in store, as the former ``StoreSettings`` made it."""
    table: PluginSettings = built_in("stores", type)(**keys)
    return table
