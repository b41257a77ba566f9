"""The place of a Redis server, and the way to open a connection to it.

Connections are redis-py's own, without its pools and clients. They are opened silently (no CLIENT
SETINFO, no HELLO) and logged in here in one round trip, since each command would be a wait of its
own.
"""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any, Protocol

from redis import connection as redis_connections
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError

from wsgi_sessions import texts
from wsgi_sessions.clock import monotonic
from wsgi_sessions.stores.redis.wire.link import open_link
from wsgi_sessions.stores.redis.wire.url import NodeAddress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wsgi_sessions.stores.redis.wire.link import Command, Connection, Link
    from wsgi_sessions.stores.redis.wire.url import RedisURL

# Shares of an operation's deadline for the connection's own waits.
CONNECT_SHARE = 0.1
REPLY_SHARE = 0.3
_LOOK_SECONDS = 1.0
_BLIND_SECONDS = 5.0  # if no sentinel answers: asking may take a third of a request's deadline

_log = texts.log(__name__)

_tcp: Callable[..., Connection] = redis_connections.Connection
_tls: Callable[..., Connection] = redis_connections.SSLConnection
_unix: Callable[..., Connection] = redis_connections.UnixDomainSocketConnection


class Endpoint(Protocol):
    """The place of a server, and the way to get a connection to it."""

    @property
    def label(self) -> str:
        """The server's name in messages: host and port, no credentials."""

    @property
    def generation(self) -> int:
        """A number that changes each time that the address has changed."""

    @property
    def next_look(self) -> float:
        """The time when `look` is due, by `clock.monotonic`."""

    def look(self, latest: float) -> None:
        """Find out whether the address has changed. Never raises for a fault."""

    def connect(self, latest: float = math.inf) -> Link:
        """Return an open, logged-in connection. Raises redis-py's exceptions.

        No wait begins after the moment `latest`, see `Link.call`.
        """


class FixedEndpoint:
    """One server at a known address or socket file."""

    def __init__(self, url: RedisURL, timeout: float, address: NodeAddress | None = None) -> None:
        self.generation = 0
        self.next_look = math.inf
        self._url = url
        self._address = address or (url.addresses or (None,))[0]
        self._timeouts = _timeouts(timeout, REPLY_SHARE)
        self.label = str(self._address) if self._address else url.path

    def connect(self, latest: float = math.inf) -> Link:
        return open_link(self._connection(), self._log_in(), latest)

    def look(self, latest: float) -> None:
        """Do nothing: the address is fixed."""

    def _connection(self) -> Connection:
        if self._address is None:
            return _unix(path=self._url.path, **self._timeouts)
        return _to(self._address, self._url, socket_keepalive=True, **self._timeouts)

    def _log_in(self) -> list[Command]:
        commands: list[Command] = []
        if self._url.username is not None:
            commands.append(("AUTH", self._url.username, self._url.password or ""))
        elif self._url.password is not None:
            commands.append(("AUTH", self._url.password))
        if self._url.db:
            commands.append(("SELECT", self._url.db))
        return commands


class SentinelEndpoint:
    """The primary of a service; the sentinels are asked for each new connection and each second.

    A planned failover breaks no connection: the former primary goes on answering, for seconds as if
    it still were one. Not promised: that connections leave a former primary within that second, or
    at all if no answering sentinel knows of the failover. `min-replicas-to-write` lets it refuse
    writes.
    """

    def __init__(self, url: RedisURL, timeout: float) -> None:
        self._url = url
        self._timeout = timeout
        self._timeouts = _timeouts(timeout, CONNECT_SHARE)
        self._sentinels = list(url.addresses)
        self._known: NodeAddress | None = None
        self._is_blind = False
        self.generation = 0
        self.next_look = math.inf
        self.label = f"the primary of service {url.service!r}"

    def connect(self, latest: float = math.inf) -> Link:
        address = self._discover(latest)
        self._take(address)
        link = FixedEndpoint(self._url, self._timeout, address).connect(latest)
        try:
            role = link.call(("ROLE",), latest)[0]
        except BaseException:
            link.close()
            raise
        if role != b"master":
            # Sentinels learn of a failover one after the other: one may still name a server that
            # has become a replica, and a replica's reads are stale.
            link.close()
            raise ReadOnlyError("the sentinel named a replica")
        return link

    def look(self, latest: float) -> None:
        self.next_look = monotonic() + _LOOK_SECONDS  # first: the other threads go on
        try:
            self._take(self._discover(latest))
        except Exception as error:  # noqa: BLE001 - as in `_discover`
            self.next_look = monotonic() + _BLIND_SECONDS
            if not self._is_blind:
                self._is_blind = True
                _log.warning("no sentinel tells whether %s still is: %s", self.label, error)

    def _take(self, address: NodeAddress) -> None:
        self._is_blind = False
        self.next_look = monotonic() + _LOOK_SECONDS
        if address == self._known:
            return
        if self._known is not None:
            _log.warning("service %s moved to %s", self._url.service, address)
            self.generation += 1
        self._known = address
        self.label = f"{address} (primary of service {self._url.service!r})"

    def _discover(self, latest: float) -> NodeAddress:
        last: Exception | None = None
        for sentinel in self._sentinels:
            try:
                reply = self._ask(sentinel, latest)
            except Exception as error:  # noqa: BLE001 - UnicodeError, too: the next one may do
                last = error
                continue
            if reply is not None:
                # The next question goes first to the one that answered, not to a dead one.
                self._sentinels = sorted(self._sentinels, key=sentinel.__ne__)
                return NodeAddress(reply[0].decode(), int(reply[1]))
        raise last or RedisConnectionError(f"no sentinel knows service {self._url.service!r}")

    def _ask(self, sentinel: NodeAddress, latest: float) -> Sequence[bytes] | None:
        password = self._url.sentinel_password
        greeting: list[Command] = [] if password is None else [("AUTH", password)]
        link = open_link(_to(sentinel, self._url, **self._timeouts), greeting, latest)
        try:
            reply: Sequence[bytes] | None = link.call(
                ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._url.service), latest
            )
            return reply
        finally:
            link.close()


def _to(address: NodeAddress, url: RedisURL, **options: Any) -> Connection:
    """Return a connection to one of the servers of a URL, by TLS if the URL says so.

    The verification is explicit: redis-py before 6 verifies no host name by default, and an
    impostor with any certificate of a known authority would get the password.
    """
    where = {**address._asdict(), **options}
    if not url.is_encrypted:
        return _tcp(**where)
    required = {"ssl_cert_reqs": "required", **url.tls}
    has_a_name = required["ssl_cert_reqs"] != "none"
    return _tls(**where, **required, ssl_check_hostname=has_a_name)


def _timeouts(timeout: float, reply_share: float) -> dict[str, Any]:
    """Return arguments of a redis-py connection that waits this long, and sends nothing itself."""
    return {
        "socket_connect_timeout": timeout * CONNECT_SHARE,
        "socket_timeout": timeout * reply_share,
        "protocol": 2,
        **_SILENT,
    }


# The way to leave out CLIENT SETINFO depends on redis-py's version.
_SILENT: dict[str, None] = (
    {"driver_info": None}
    if "driver_info" in inspect.signature(redis_connections.AbstractConnection.__init__).parameters
    else {"lib_name": None, "lib_version": None}
)
