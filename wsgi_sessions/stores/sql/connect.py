"""From a URL to a SQLAlchemy engine whose connections keep to a deadline."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.stores.sql import sqlite

if TYPE_CHECKING:
    import sqlite3

    from sqlalchemy import URL, Engine

_DRIVERS = {
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
_IDLE_FACTOR = 10
_LONGEST_CONNECT = 10.0


def parse_sql_url(text: str) -> URL:
    """A SQLAlchemy URL with a driver; ``postgres://`` and ``postgresql://`` mean psycopg 3.

    Raises ConfigurationError, without the URL, which may hold a password.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigurationError(
            "the URL of the SQL store is malformed: write postgresql://user:password@host/database "
            "or sqlite:////absolute/path, with @ : / in a password percent-encoded"
        ) from None
    url = url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))
    if url.get_backend_name() == "sqlite" and not os.path.isabs(url.database or ""):
        raise ConfigurationError(
            "SQLite is named by an absolute path, with four slashes: sqlite:////var/lib/app.db"
        )
    return url


def label_of(url: URL) -> str:
    """What a database is called in errors: no user, no password."""
    name = _NAMES.get(url.get_backend_name(), url.get_backend_name())
    if name == "SQLite":
        return f"SQLite in {url.database}"
    host = url.host or url.query.get("host") or "the local host"
    return f"{name} at {host if isinstance(host, str) else ','.join(host)}/{url.database or ''}"


def connect_sql(url: URL, timeout: float, *, create: Literal["file", "nothing"]) -> Engine:
    """An engine that connects on use. With `create` a missing SQLite file is made (mode 0600).

    Raises ConfigurationError, with what to install, if the driver is missing.
    """
    try:
        if url.get_backend_name() == "sqlite":
            return _sqlite(url, create)
        if url.get_backend_name() == "postgresql":
            return _postgresql(url, timeout)
        return create_engine(url, isolation_level="READ COMMITTED", **_pool(timeout))
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
        "pool_use_lifo": True,  # what is not needed any more is left to go stale, and is replaced
        "hide_parameters": True,
    }


def _postgresql(url: URL, timeout: float) -> Engine:
    milliseconds = max(1, round(timeout * 1000))
    # The second is for a worker that is stopped in a transaction: it must not keep its locks.
    limits = (
        f"-c statement_timeout={milliseconds} "
        f"-c idle_in_transaction_session_timeout={milliseconds * _IDLE_FACTOR}"
    )
    given = url.query.get("options", "")
    given = given if isinstance(given, str) else " ".join(given)
    connecting = min(timeout / 2, _LONGEST_CONNECT)
    arguments = {
        "connect_timeout": max(2, round(connecting)),
        "options": f"{limits} {given}".strip(),  # of two that are equal, the latter counts
    }
    if url.get_driver_name() != "psycopg":
        return create_engine(url, connect_args=arguments, **_pool(timeout))
    from wsgi_sessions.stores.sql.psycopg import connect

    # hstore's number would be asked for at the first connect.
    engine = create_engine(url, connect_args=arguments, use_native_hstore=False, **_pool(timeout))
    event.listen(
        engine,
        "do_connect",
        lambda _dialect, _record, args, kwargs: connect(connecting, args, kwargs),
    )
    return engine


def _sqlite(url: URL, create: Literal["file", "nothing"]) -> Engine:
    path = url.database or ""

    def connect() -> sqlite3.Connection:
        if create == "file":
            sqlite.make_file(path)
        return sqlite.connect(path)

    return create_engine(url, creator=connect, **_pool(1.0))
