"""A part of the HTTP edge: an API or a page, with its routes and the form of its errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from starlette.routing import BaseRoute
from starlette.types import Scope

from mcp_server.web.edge import Problem


class Part(NamedTuple):
    """One API or page."""

    paths: Sequence[str]
    """Where it is served: each without a / at the end."""
    routes: Callable[[str], Sequence[BaseRoute]]
    """The routes below such a path."""
    problem: Problem
    """Writes its errors."""
    claims: Callable[[Scope], bool] = lambda scope: True
    """Whether a request is for it rather than for another part under the same path."""
