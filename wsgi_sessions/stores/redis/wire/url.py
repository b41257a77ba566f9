"""Redis URLs, checked before a client library sees them.

redis-py takes ``redis://`` for localhost and ``/abc`` for database 0: sessions in the wrong server
or database are worse than an error at the start.

``redis://[user:password@]host[:port][/db]`` One server.
    ``rediss://…[?ssl_ca_certs=FILE&ssl_certfile=FILE&ssl_keyfile=FILE&ssl_cert_reqs=required]`` The
    same over TLS. An authority of `ssl_ca_certs` (default: the system's) must have signed the
    server's certificate, and it must name the host as the URL writes it. With
    ``ssl_cert_reqs=none`` neither is checked: anyone in between gets the password.
    ``unix://[user:password@]/path/to/socket[?db=n]`` One server, by its socket file.
    ``redis+sentinel://[user:password@]host[:port],…/service[/db][?sentinel_password=…]`` The
    primary that these sentinels name; user and password are the primary's.
    ``redis+cluster://[user:password@]host[:port],…`` A cluster, by some of its nodes.
    ``rediss+sentinel://…``, ``rediss+cluster://…`` The same over TLS, sentinels included, with the
    options of ``rediss://``. Sentinels and nodes must announce each other by the names in the
    certificates.
"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, NoReturn
from urllib.parse import parse_qsl, unquote, urlsplit

from wsgi_sessions import texts
from wsgi_sessions.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from urllib.parse import SplitResult

Scheme = Literal[
    "redis",
    "rediss",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
]
Topology = Literal["server", "sentinel", "cluster"]

_TOPOLOGIES: dict[str, Topology] = {"": "server", "sentinel": "sentinel", "cluster": "cluster"}
_DEFAULT_PORTS: dict[Topology, int] = {"server": 6379, "sentinel": 26379, "cluster": 6379}
_TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TLS = (*_TLS_FILES, "ssl_cert_reqs")
_OPTIONS: dict[Scheme, tuple[str, ...]] = {
    "redis": ("db",),
    "rediss": ("db", *_TLS),
    "unix": ("db",),
    "redis+sentinel": ("sentinel_password",),
    "rediss+sentinel": ("sentinel_password", *_TLS),
    "redis+cluster": (),
    "rediss+cluster": _TLS,
}
_CERT_REQS = ("none", "optional", "required")
_UNSAFE = re.compile(r"[\x00-\x20\x7f]")


class NodeAddress(NamedTuple):
    """The address of a server. An IPv6 host is without its brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@texts.shows("scheme", "addresses", "db", "service")
@dataclass(frozen=True)
class RedisURL:
    """A parsed URL. Passwords are left out of its repr."""

    scheme: Scheme
    addresses: tuple[NodeAddress, ...] = ()
    path: str = ""
    db: int = 0
    service: str = ""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_password: str | None = field(default=None, repr=False)
    tls: Mapping[str, str] = field(default_factory=dict)

    @property
    def topology(self) -> Topology:
        """The topology behind the URL: one server, a Sentinel group or a cluster."""
        return _topology(self.scheme)

    @property
    def is_encrypted(self) -> bool:
        """Whether every connection that the URL leads to uses TLS."""
        return _is_encrypted(self.scheme)


def parse_url(url: str) -> RedisURL:
    """Parse a Redis URL. Raises `ConfigurationError`, which never shows a credential."""
    scheme = _scheme(url)
    _refuse_unsafe(scheme, url)
    parts = _split(scheme, url)
    options = _options(scheme, parts.query)
    userinfo, _, hosts = parts.netloc.rpartition("@")
    username, password = _credentials(userinfo)
    service, db = _service_and_db(scheme, parts.path, options)
    return RedisURL(
        scheme=scheme,
        addresses=_addresses(scheme, hosts),
        path=_socket_path(parts.path) if scheme == "unix" else "",
        db=db,
        service=service,
        username=username,
        password=password,
        sentinel_password=options.get("sentinel_password"),
        tls=_tls(scheme, options),
    )


def _fail(scheme: str, what: str) -> NoReturn:
    # From None: the text of the parser's exception may show a password.
    raise ConfigurationError(f"the store URL {scheme}://…: {what}") from None


def _scheme(url: str) -> Scheme:
    name = url.partition("://")[0]
    for scheme in _OPTIONS:
        if name.lower() == scheme and "://" in url:
            return scheme
    allowed = ", ".join(f"{scheme}://" for scheme in _OPTIONS)
    raise ConfigurationError(f"not a Redis URL; these begin with {allowed}")


def _topology(scheme: Scheme) -> Topology:
    return _TOPOLOGIES[scheme.partition("+")[2]]


def _is_encrypted(scheme: Scheme) -> bool:
    return scheme.partition("+")[0] == "rediss"


def _refuse_unsafe(scheme: Scheme, url: str) -> None:
    if _UNSAFE.search(url):
        _fail(scheme, "it contains a blank or a control character; write it as %20 and the like")
    if "#" in url:
        _fail(scheme, "it contains a '#'; in a password write it as %23")


def _split(scheme: Scheme, url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError:
        _fail(scheme, "an open bracket (write [::1]), or a character that no URL has (write %40)")
    if scheme != "unix" and "@" in parts.path + parts.query:
        # Later checks would take a part of the password for a host, a port or a database, and show
        # it.
        _fail(scheme, "an '@' follows the host; in a password write '/' as %2F and '?' as %3F")
    return parts


def _options(scheme: Scheme, query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        _fail(scheme, "what follows the '?' must be name=value pairs joined by '&'")
    options: dict[str, str] = {}
    for name, value in pairs:
        if name not in _OPTIONS[scheme]:
            allowed = ", ".join(_OPTIONS[scheme]) or "none"
            _fail(scheme, f"unknown option {name[:40]!r}; allowed: {allowed}")
        if name in options or not value:
            _fail(scheme, f"option {name!r} must be given once and have a value")
        options[name] = value
    return options


def _credentials(userinfo: str) -> tuple[str | None, str | None]:
    username, _, password = userinfo.partition(":")
    return unquote(username) or None, unquote(password) or None


def _addresses(scheme: Scheme, hosts: str) -> tuple[NodeAddress, ...]:
    if scheme == "unix":
        if hosts:
            _fail(scheme, "a socket file has no host; write unix:///path/to/socket")
        return ()
    names = hosts.split(",")
    if len(names) > 1 and _topology(scheme) == "server":
        _fail(scheme, f"several hosts need {scheme}+sentinel:// or {scheme}+cluster://")
    return tuple(_address(scheme, name) for name in names)


def _address(scheme: Scheme, text: str) -> NodeAddress:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        before, colon, port = rest.partition(":")
        if not bracket or before or not _is_ipv6(host):
            _fail(scheme, "not an IPv6 address in brackets; write [::1] or [::1]:6379")
    else:
        host, colon, port = text.partition(":")
    if not host:
        _fail(scheme, f"the host is missing; write {scheme}://localhost to mean this machine")
    if not re.fullmatch(r"[\w.:-]+", host):
        _fail(scheme, "the host has a character that no host name has")
    return NodeAddress(host, _port(scheme, port) if colon else _DEFAULT_PORTS[_topology(scheme)])


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _port(scheme: Scheme, text: str) -> int:
    port = _number(text)
    if port is None or not 0 < port < 65536:
        # It may be the password in a URL without a host.
        _fail(
            scheme,
            "the port after a host is a number from 1 to 65535; user:password goes before an '@' "
            f"and a host, as in {scheme}://user:password@localhost",
        )
    return port


def _service_and_db(scheme: Scheme, path: str, options: Mapping[str, str]) -> tuple[str, int]:
    if scheme == "unix":
        return "", _db(scheme, options.get("db", "0"))
    first, _, second = path.strip("/").partition("/")
    if _topology(scheme) == "sentinel":
        if not first:
            _fail(scheme, "the service is missing; write …/service or …/service/db")
        return unquote(first), _db(scheme, second or "0")
    if first and "db" in options:
        _fail(scheme, "the database is given twice, in the path and as an option")
    db = _db(scheme, path.strip("/") or options.get("db", "0"))
    if _topology(scheme) == "cluster" and db:
        _fail(scheme, f"a cluster has database 0 only, not {db}")
    return "", db


def _db(scheme: Scheme, text: str) -> int:
    db = _number(text)
    if db is None:
        _fail(scheme, f"database {text[:20]!r} is not a number")
    return db


def _number(text: str) -> int | None:
    """Return a number of ASCII digits; int() also takes other scripts' digits, '1_0' and '+1'."""
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None


def _socket_path(path: str) -> str:
    if len(path) < 2:
        _fail("unix", "the path is missing; write unix:///path/to/socket")
    return unquote(path)


def _tls(scheme: Scheme, options: Mapping[str, str]) -> dict[str, str]:
    for name in _TLS_FILES:
        if name in options and not os.access(options[name], os.R_OK):
            _fail(scheme, f"{name}: no readable file at {options[name]!r}")
    if options.get("ssl_cert_reqs", "required") not in _CERT_REQS:
        _fail(scheme, f"ssl_cert_reqs must be one of {', '.join(_CERT_REQS)}")
    return {name: value for name, value in options.items() if name.startswith("ssl_")}
