"""The default session and options of the calls of a client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast

from mcp_client._core.arguments import argument
from mcp_client._core.requests import option_names
from mcp_client.values import Session, TurnOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class CallDefaults:
    """The session and the options of turns whose call names none."""

    session: str | Session | None = None
    options: TurnOptions = field(default_factory=TurnOptions)

    def with_options(self, options: TurnOptions, session: str | Session | None = None) -> CallDefaults:
        """These defaults with further ones, which take precedence.

        Raises:
            TypeError: an option does not exist, or cannot be a default.
        """
        with argument("options"):
            if not isinstance(options, Mapping):
                raise TypeError(f"expected a mapping, not {type(options).__name__}")
        option_names.check_defaults(options)
        return replace(self, options=self.merged(options), session=self.session if session is None else session)

    def merged(self, options: TurnOptions) -> TurnOptions:
        """The options of a call; one that is ``None`` has no default."""
        return cast("TurnOptions", {**self.options, **options})

    def described(self) -> str:
        """The further arguments of a client's representation."""
        session = self.session.name if isinstance(self.session, Session) else self.session
        shown = {**({"session": session} if session is not None else {}), **self.options}
        return "".join([f", {name}={value!r}" for name, value in shown.items()])

    def session_of(self, session: str | Session | None) -> str | Session | None:
        """The session of a call."""
        return self.session if session is None else session
