"""Sessions in SQL, by a URL or an `Engine`; SQLAlchemy is optional, and imported on use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wsgi_sessions.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from wsgi_sessions.contract import Backend

MIGRATION_SECONDS = 600.0


def open_sql(target: str | Engine, *, timeout: float = 1.0, create_all: bool = False) -> Backend:
    """Return the backend in a database. Does not connect: the server may be down.

    Args:
        target: a URL such as ``postgresql://user@host/database``, or the application's SQLAlchemy
            `Engine`, which is used as it is.
        timeout: seconds for each operation, including its retries.
        create_all: create or upgrade the tables on the first use. Without it, missing tables are a
            `StoreUnavailable` that names the command.

    Raises:
        ConfigurationError: the URL or the time-out makes no sense, or the driver is missing.
    """
    backend: Backend = _adapter().open_sql(target, timeout=timeout, create_all=create_all)
    return backend


def migrate_schema(target: str | Engine, *, timeout: float = MIGRATION_SECONDS) -> tuple[int, int]:
    """Create or upgrade the tables; return the schema's version before and after.

    Idempotent, and safe when several processes do it at once. Raises StoreUnavailable, and
    ConfigurationError as `open_sql`.
    """
    versions: tuple[int, int] = _adapter().migrate_schema(target, timeout=timeout)
    return versions


def _adapter() -> Any:
    try:
        return import_module("wsgi_sessions.stores.sql.backend")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "sqlalchemy":
            raise
        raise ConfigurationError(
            "sessions in SQL need SQLAlchemy: pip install 'wsgi-sessions[sql]'"
        ) from None
