"""From a URL to a SQLAlchemy engine whose connections keep to a deadline."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from wsgi_sessions.clock import monotonic
from wsgi_sessions.database import sqlite
from wsgi_sessions.database.mysql import limit_waiting
from wsgi_sessions.errors import ConfigurationError

if TYPE_CHECKING:
    import sqlite3

    from sqlalchemy import URL, Engine
    from sqlalchemy.pool import ConnectionPoolEntry

    from wsgi_sessions.database.psycopg import Preparing

DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
_INSTALL = {
    "postgresql+psycopg": "pip install 'wsgi-sessions[sql]'",
    "mysql+pymysql": "pip install PyMySQL",
    "mariadb+pymysql": "pip install PyMySQL",
}
_NAMES = {
    "postgresql": "PostgreSQL",
    "sqlite": "SQLite",
    "mysql": "MySQL",
    "mariadb": "MariaDB",
}
_LONGEST_CONNECT = 10.0
_SEVERAL_HOSTS = re.compile(
    r"(?P<scheme>postgres(?:ql)?(?:\+\w+)?://)(?P<user>[^@/?]*@)?(?P<hosts>[^@/?]+,[^@/?]+)(?P<rest>.*)",
    re.DOTALL,
)


def parse_sql_url(text: str) -> URL:
    """Return a SQLAlchemy URL with a driver; ``postgres://`` and ``postgresql://`` mean psycopg 3.

    Several hosts of PostgreSQL may be written as in libpq, ``host1:port1,host2:port2``, or as in
    SQLAlchemy, ``?host=host1:port1&host=host2:port2``.

    Raises ConfigurationError, without the URL, which may hold a password.
    """
    try:
        url = make_url(with_hosts_in_query(text))
    except (ArgumentError, ValueError):
        raise ConfigurationError(
            "the URL of the SQL store is malformed: write postgresql://user:password@host/database "
            "or sqlite:////absolute/path, with @ : / in a password percent-encoded"
        ) from None
    url = url.set(drivername=DRIVERS.get(url.drivername, url.drivername))
    if url.get_backend_name() == "sqlite" and not os.path.isabs(url.database or ""):
        raise ConfigurationError(
            "SQLite needs an absolute path, with four slashes: sqlite:////var/lib/app.db"
        )
    return url


def with_hosts_in_query(text: str) -> str:
    """Return a URL with several hosts as libpq writes them in the form that SQLAlchemy reads."""
    several = _SEVERAL_HOSTS.fullmatch(text)
    if several is None:
        return text
    hosts = "&".join(f"host={host}" for host in several["hosts"].split(","))
    rest, _, query = several["rest"].partition("?")
    return f"{several['scheme']}{several['user'] or ''}{rest}?{hosts}{query and '&'}{query}"


def label_of(url: URL) -> str:
    """Return the name of a database for errors: no user, no password."""
    name = _NAMES.get(url.get_backend_name(), url.get_backend_name())
    if name == "SQLite":
        return f"SQLite in {url.database}"
    host = url.host or url.query.get("host") or "the local host"
    return f"{name} at {host if isinstance(host, str) else ','.join(host)}/{url.database or ''}"


def connect_sql(url: URL, timeout: float, *, create: Literal["file", "nothing"]) -> Engine:
    """Return an engine that connects on use; `create`: it makes a missing SQLite file (mode 0600).

    Raises ConfigurationError, naming the package to install, if the driver is missing.
    """
    try:
        if url.get_backend_name() == "sqlite":
            return _sqlite(url, create)
        if url.get_backend_name() == "postgresql":
            return _postgresql(url, timeout)
        return _mysql(url, timeout)
    except NoSuchModuleError:
        raise ConfigurationError(
            f"SQLAlchemy knows no database {url.drivername[:40]!a}: use postgresql://, sqlite:// "
            "or mariadb://"
        ) from None
    except ImportError as error:
        command = _INSTALL.get(url.drivername, f"install {error.name}")
        raise ConfigurationError(
            f"the driver of {url.drivername}:// is not installed: {command}"
        ) from None


def _pool(timeout: float) -> dict[str, Any]:
    return {
        "pool_size": 5,
        "max_overflow": 20,
        "pool_timeout": timeout,
        "pool_use_lifo": True,  # unused connections are left to go stale, and are replaced
        "hide_parameters": True,
    }


def _postgresql(url: URL, timeout: float) -> Engine:
    if url.get_driver_name() != "psycopg":
        limit = max(2, round(min(timeout / 2, _LONGEST_CONNECT)))
        return create_engine(url, connect_args={"connect_timeout": limit}, **_pool(timeout))
    # A statement commits on its own: changing that for each one costs more than it takes. The first
    # connect would ask for hstore's number.
    modes: dict[str, Any] = {"isolation_level": "AUTOCOMMIT", "use_native_hstore": False}
    engine = create_engine(url, **modes, **_pool(timeout))
    connect_by_deadline(engine, min(timeout / 2, _LONGEST_CONNECT))
    return engine


def _mysql(url: URL, timeout: float) -> Engine:
    # A statement commits on its own; changing that for each would cost more round trips.
    engine = create_engine(url, isolation_level="AUTOCOMMIT", **_pool(timeout))
    limit_waiting(engine, min(timeout / 2, _LONGEST_CONNECT), timeout)
    return engine


def connect_by_deadline(
    engine: Engine, connecting: float, *, answering: float | None = None
) -> None:
    """Let a psycopg 3 engine connect within `connecting` seconds, to a PostgreSQL or a pooler.

    Its connections keep their `deadline` (see `database.psycopg`): the client cancels longer
    statements. A pooler refuses settings at the start of a connection, so there are none. It also
    gives a named prepared statement to other connections, where names collide: so statements are
    prepared only if the URL says after how many uses, ``?prepare_threshold=5``, or if the server
    itself is at the other end.

    With `answering`, a connection has its deadline from the start: so many seconds. It is for a few
    statements, of which none is prepared.

    Raises ConfigurationError for a threshold that is not a whole number.
    """
    from wsgi_sessions.database.psycopg import PsycopgConnection, connect

    given = _prepare_threshold(engine.url)
    prepare: Preparing = "as given" if given is not None or answering else "without a pooler"

    def connected(_dialect: object, _record: object, args: Any, kwargs: Any) -> PsycopgConnection:
        kwargs.setdefault("connect_timeout", max(2, round(connecting)))
        kwargs["prepare_threshold"] = given
        connection = connect(connecting, args, kwargs, prepare=prepare)
        connection.deadline = None if answering is None else monotonic() + answering
        return connection

    def returned(connection: Any, record: ConnectionPoolEntry) -> None:
        if getattr(connection, "is_cancelled", False):
            record.invalidate()

    event.listen(engine, "do_connect", connected)
    event.listen(engine, "checkin", returned)


def _prepare_threshold(url: URL) -> int | None:
    given = url.query.get("prepare_threshold")
    if given is None:
        return None
    if isinstance(given, str) and given.isascii() and given.isdigit():
        return int(given)
    raise ConfigurationError(
        "prepare_threshold in the URL of a PostgreSQL database must be one whole number: after so "
        "many uses of a connection a statement is prepared on the server"
    )


def _sqlite(url: URL, create: Literal["file", "nothing"]) -> Engine:
    path = url.database or ""

    def connect() -> sqlite3.Connection:
        if create == "file":
            sqlite.make_file(path)
        return sqlite.connect(path)

    return create_engine(url, creator=connect, **_pool(1.0))
