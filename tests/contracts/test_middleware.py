"""The contracts of middleware and of turn observers, on the built-in ones."""

from mcp_server.interfaces import Middleware, TurnObserver
from mcp_server.middleware.access import AccessLog
from mcp_server.middleware.metrics import Metrics
from mcp_server.testing.contracts.middleware import MiddlewareContract
from mcp_server.testing.contracts.observers import TurnObserverContract


class TestAccessLog(MiddlewareContract, TurnObserverContract):
    """The log of calls and turns."""

    def make(self) -> AccessLog:
        """A new log."""
        return AccessLog()


class TestMetrics(MiddlewareContract, TurnObserverContract):
    """The metrics of calls and turns."""

    def make(self) -> Metrics:
        """New metrics."""
        return Metrics()


def test_both_are_middleware_and_observers() -> None:
    """Their types say so."""
    built_in: list[Middleware] = [AccessLog(), Metrics()]
    observers: list[TurnObserver] = [AccessLog(), Metrics()]
    assert len(built_in) == len(observers)
