"""Maps the failures of a server over HTTP, by status and by the code of its protocol, to the errors of this project."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from mcp_server.errors import (
    ContextTooLong,
    InvalidArgument,
    MCPError,
    ModelNotFound,
    ProviderRateLimited,
    ProviderRejected,
    ProviderStreamCut,
    ProviderTimeout,
    ProviderUnavailable,
    UnsupportedByModel,
)
from mcp_server.providers.http.faults import Fault
from mcp_server.values import Struct

MAX_MESSAGE: Final = 300
"""How much of a server's message is passed on, in characters."""
MAX_WORDS: Final = 4096
"""How much of it is looked at, in characters."""


class Kind(enum.Enum):
    """The kind of a failure: who must act, and how."""

    BAD_REQUEST = enum.auto()
    CONTENT = enum.auto()
    CONTEXT = enum.auto()
    CREDENTIALS = enum.auto()
    CUT = enum.auto()
    NO_MODEL = enum.auto()
    RATE = enum.auto()
    TIMEOUT = enum.auto()
    UNAVAILABLE = enum.auto()
    UNSUPPORTED = enum.auto()


BY_STATUS: Final[Mapping[int, Kind]] = {
    401: Kind.CREDENTIALS,
    402: Kind.CREDENTIALS,
    403: Kind.CREDENTIALS,
    404: Kind.NO_MODEL,
    405: Kind.NO_MODEL,  # a wrong address
    407: Kind.UNAVAILABLE,  # a proxy on the way
    408: Kind.UNAVAILABLE,
    409: Kind.UNAVAILABLE,
    410: Kind.NO_MODEL,
    413: Kind.CONTEXT,
    421: Kind.UNAVAILABLE,
    423: Kind.UNAVAILABLE,
    424: Kind.UNAVAILABLE,  # Hugging Face: the engine behind it
    425: Kind.UNAVAILABLE,
    429: Kind.RATE,
    451: Kind.CREDENTIALS,  # a region
    498: Kind.UNAVAILABLE,  # Groq: no capacity
    499: Kind.UNAVAILABLE,
    501: Kind.UNSUPPORTED,
    504: Kind.TIMEOUT,
    524: Kind.TIMEOUT,  # Cloudflare
}
"""If the code is unknown. Other statuses from 400 to 499 are bad requests; all others mean that the server is
unavailable."""


class FailureTable(Struct):
    """What the codes and the messages of a protocol mean."""

    by_code: Mapping[str, Kind]
    """By ``code`` or ``type``, whatever the status; case, underscores and other signs make no difference."""
    by_words: tuple[tuple[Kind, re.Pattern[str]], ...] = ()
    """By the message, where neither code nor status says more than that something is wrong. The first that matches
    decides."""

    def __post_init__(self) -> None:
        """Bring the codes into the form in which they are compared."""
        msgspec.structs.force_setattr(self, "by_code", {normalized(code): kind for code, kind in self.by_code.items()})

    def kind(self, status: int, fault: Fault) -> Kind:
        """The kind of an error.

        Args:
            status: the HTTP status of the answer.
            fault: its error object. A status of its own counts where that of the answer says little or nothing.
        """
        for code in fault.codes:
            if (known := self.by_code.get(normalized(code))) is not None:
                return known
        if fault.status >= 400 and (status <= 400 or status >= 500):
            status = fault.status
        kind = BY_STATUS.get(status)
        if kind is None:
            kind = Kind.BAD_REQUEST if 400 <= status < 500 else Kind.UNAVAILABLE
        if kind in (Kind.BAD_REQUEST, Kind.NO_MODEL, Kind.UNAVAILABLE):
            words = " ".join((fault.message[:MAX_WORDS], *fault.codes))
            found = next((found for found, pattern in self.by_words if pattern.search(words)), kind)
            if kind is Kind.NO_MODEL:
                return found if found is Kind.CREDENTIALS else kind
            # A server that fails may lack its models only for now.
            if found is not Kind.NO_MODEL or kind is Kind.BAD_REQUEST or status == 200:
                kind = found
        return kind

    def kind_in_stream(self, fault: Fault, *, begun: bool) -> Kind:
        """The kind of an error in the place of a piece of an answer.

        Args:
            fault: the error object.
            begun: whether pieces of the answer came before. Then the server was nearly always interrupted.
        """
        kind = self.kind(200, fault)
        if kind in (Kind.CONTENT, Kind.CONTEXT, Kind.CREDENTIALS):
            return kind
        return Kind.CUT if begun or kind in (Kind.UNAVAILABLE, Kind.TIMEOUT) else kind


def normalized(word: str) -> str:
    """A code or a reason as it is compared: its letters and digits, in lower case."""
    return "".join([letter for letter in word.lower() if letter.isalnum()])


def error_of(
    kind: Kind, fault: Fault, *, provider: str, model: str, status: int, message: str, retry_after: float | None = None
) -> MCPError:
    """The error of a failure.

    Args:
        kind: its kind. The message of one that concerns the operator's credentials or quota is not shown.
        fault: the error object; its codes are shown.
        provider: the name of the provider.
        model: the model that was asked.
        status: the HTTP status.
        message: the server's message, safe to show.
        retry_after: seconds to wait, if the server asks for it or another key can be used at once.
    """
    where = f"the provider {provider}"
    facts = {"provider": provider, "model": model, "status": str(status)}
    code = f"status {status}"
    if fault.codes:
        facts["code"] = fault.codes[0]
        code += f", {fault.codes[0]}"
    because = f": {message}" if message else ""
    if kind is Kind.BAD_REQUEST:
        error = InvalidArgument((), f"{where} refuses the request to the model {model} ({code}){because}")
        error.metadata.update(facts)
        return error
    if kind is Kind.CREDENTIALS:
        # The vendor's words are about the operator's account, and often show a part of the key: they go to the log.
        facts["cause"] = "credentials"
        text = f"the provider refused this server's credentials: {where}, status {status}"
        return ProviderRejected(text, metadata=facts, retry_after=retry_after)
    if kind is Kind.CONTENT:
        facts["cause"] = "content"
        return ProviderRejected(f"{where} refuses the content ({code}){because}", metadata=facts)
    if kind is Kind.CONTEXT:
        text = f"the request is too long for the model {model} of {where} ({code}){because}"
        return ContextTooLong(text, metadata=facts)
    if kind is Kind.NO_MODEL:
        text = f"{where} has no model {model} at its address ({code}){because}"
        return ModelNotFound(text, metadata=facts)
    if kind is Kind.UNSUPPORTED:
        text = f"the model {model} of {where} cannot do this ({code}){because}"
        return UnsupportedByModel(text, metadata=facts)
    if kind is Kind.RATE:
        # The vendor's words are about the operator's quota: they go to the log.
        return ProviderRateLimited(f"{where} asks for fewer calls ({code})", metadata=facts, retry_after=retry_after)
    if kind is Kind.TIMEOUT:
        return ProviderTimeout(f"{where} did not answer in time ({code}){because}", metadata=facts)
    if kind is Kind.CUT:
        return ProviderStreamCut(f"{where} broke its answer off with an error ({code}){because}", metadata=facts)
    return ProviderUnavailable(f"{where} is unavailable ({code}){because}", metadata=facts, retry_after=retry_after)
