"""Databases for occasional use: no connection stays open, so forked workers share none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import Engine


def open_unpooled(url: str, *, timeout: float, setting: str, forms: str) -> Engine:
    """Return an engine for a SQLAlchemy URL, without connecting yet.

    `timeout` (seconds) bounds a statement on PostgreSQL, MariaDB and MySQL and the wait for a lock
    on SQLite; connecting to a server may take up to two seconds, which is libpq's minimum. Errors
    name `setting`, and advise the URLs in `forms`.

    Raises ConfigurationError, without the URL, which may hold a password.
    """
    try:
        from sqlalchemy import create_engine, make_url
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError
        from sqlalchemy.pool import NullPool

        from wsgi_sessions.database import connect
        from wsgi_sessions.database.mysql import limit_waiting
    except ImportError:
        raise ConfigurationError(
            f"{setting}: a database needs SQLAlchemy: pip install 'wsgi-sessions[sql]'"
        ) from None
    try:
        parsed = make_url(connect.with_hosts_in_query(url))
        parsed = parsed.set(drivername=connect.DRIVERS.get(parsed.drivername, parsed.drivername))
        options = {"timeout": timeout} if parsed.get_backend_name() == "sqlite" else {}
        engine = create_engine(parsed, poolclass=NullPool, connect_args=options)
        if parsed.drivername == "postgresql+psycopg":
            connect.connect_by_deadline(engine, max(2.0, timeout), answering=timeout)
        elif parsed.get_backend_name() in ("mysql", "mariadb"):
            limit_waiting(engine, max(2.0, timeout), timeout)
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
        raise ConfigurationError(
            f"{setting}: no database can be opened there ({type(error).__name__}): write it as "
            f"{forms}"
        ) from None
    return engine
