"""The application with a fault of its own, by which it is shown that a run finds it."""

from __future__ import annotations

from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from histories import application
from wsgi_sessions.core.turn import Turn
from wsgi_sessions.stores.redis.wire.endpoints import FixedEndpoint, SentinelEndpoint

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from wsgi_sessions.stores.redis.wire.url import NodeAddress


def without_fences() -> WSGIApplication:
    """What a block saves does not say whose lock it had."""
    planted: Any = Turn
    planted.fence = property(lambda _: None)
    return application.create()


def without_sentinels() -> WSGIApplication:
    """The primary that was named first is asked until it says itself that it is none."""
    ask: Any = SentinelEndpoint._discover

    def stay(endpoint: SentinelEndpoint, latest: float) -> NodeAddress:
        known = endpoint._known
        if known is not None and not _follows(endpoint, known):
            return known
        address: NodeAddress = ask(endpoint, latest)
        return address

    planted: Any = SentinelEndpoint
    planted._discover = stay
    return application.create()


def _follows(endpoint: SentinelEndpoint, address: NodeAddress) -> bool:
    """Whether a server says that it is a replica."""
    server = FixedEndpoint(endpoint._url, endpoint._timeout, address)
    with suppress(RedisError, OSError), closing(server.connect()) as link:
        return bool(link.call(("ROLE",))[0] != b"master")
    return False
