"""Databases that are asked now and then: no connection stays open, so forked workers share none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsgi_sessions.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import Engine


def open_unpooled(url: str, *, timeout: float, setting: str, forms: str) -> Engine:
    """An engine for a SQLAlchemy URL, which is not asked yet.

    `timeout` (seconds) bounds a statement on PostgreSQL and the wait for a lock on SQLite;
    connecting to PostgreSQL may take two seconds at least, which is libpq's limit. `setting` is
    what errors name, `forms` are the URLs that they advise.

    Raises ConfigurationError, without the URL, which may hold a password.
    """
    try:
        from sqlalchemy import create_engine, make_url
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError
        from sqlalchemy.pool import NullPool
    except ImportError:
        raise ConfigurationError(
            f"{setting}: a database needs SQLAlchemy: pip install 'wsgi-sessions[sql]'"
        ) from None
    try:
        parsed = make_url(url)
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        options = _connect_options(parsed.get_backend_name(), timeout)
        return create_engine(parsed, poolclass=NullPool, connect_args=options)
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
        raise ConfigurationError(
            f"{setting}: no database can be opened there ({type(error).__name__}): write it as "
            f"{forms}"
        ) from None


def _connect_options(database: str, timeout: float) -> dict[str, Any]:
    if database == "postgresql":
        limit = f"-c statement_timeout={max(1, round(timeout * 1000))}"
        return {"connect_timeout": max(2, round(timeout)), "options": limit}
    return {"timeout": timeout} if database == "sqlite" else {}
