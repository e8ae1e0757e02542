"""What every settings table is made of. Authors of plug-ins derive theirs from the classes here."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, dataclass_transform

import msgspec


class Secret:
    """A text that masks itself wherever it is printed; :meth:`reveal` returns it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('***')"

    def __str__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> str:
        raise TypeError("a Secret cannot be serialized")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of every settings table: a frozen Struct whose fields are the keys of the table."""


class PluginSettings(Settings):
    """The settings table of a plug-in, which also builds the plug-in.

    The class is what a plug-in registers: as an entry point of an installed package, or in the ``BUILT_IN`` of its
    folder. Its docstring and those of its fields describe the table in the JSON Schema of the configuration file.
    """

    extra: ClassVar[str] = ""
    """The extra of this package that installs the plug-in's libraries; empty if it needs none."""
    libraries: ClassVar[tuple[str, ...]] = ()
    """The modules of the extra without which the plug-in is not built."""

    @classmethod
    def missing_libraries(cls) -> list[str]:
        """Those of :attr:`libraries` that are not installed. Imports none."""
        return [name for name in cls.libraries if importlib.util.find_spec(name) is None]

    def build(self, name: str) -> Any:
        """Make the plug-in.

        Args:
            name: the name of its table, ``NAME`` in ``[providers.NAME]``; for a store its type.

        Raises:
            ConfigError: the settings cannot be used; the message begins with the key.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define build()")

    def problems(self) -> Iterable[tuple[tuple[str, ...], str]]:
        """What is wrong between values that are each valid: the path of a key in this table, and the problem."""
        return ()


class ProviderSettings(PluginSettings):
    """The settings table of a provider."""

    def model_names(self) -> Iterable[str]:
        """The models that the table lists by their full names. The first is the default model of a server that
        configures none."""
        return ()

    def any_model(self) -> bool:
        """Whether the provider takes names of models that the table does not list."""
        return True

    def accepts(self, model: str) -> bool:
        """Whether ``model``, a name of the provider's own, may be sent to the provider."""
        return self.any_model() or model in self.model_names()

    def key_variable(self) -> str:
        """The environment variable in which programs usually have the key of this service; empty if there is none, or
        if the table sets a key. If it is set, its text becomes the ``api_key`` of the table."""
        return ""

    def model_files(self) -> Mapping[str, ModelFile]:
        """The files of the models that run on this machine, by the name of the model."""
        return {}


class ModelFile(Settings):
    """The file of a model that runs on this machine."""

    path: Path
    """Where the file is, or will be once it is pulled."""
    source: str | None = None
    """What ``mcp-server models pull`` fetches it from; ``None``: the user provides the file."""
