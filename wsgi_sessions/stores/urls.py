"""From a URL to a backend: one table, with each adapter imported on use."""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

from wsgi_sessions.clock import wall_clock
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.settings.kinds import separate
from wsgi_sessions.stores.databases import open_sql

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wsgi_sessions.contract import Backend, Purpose
    from wsgi_sessions.stores.file.disk.system import Fsync

SqlSchema = Literal["require", "create"]


_SEVERAL = "these are several session stores: open them one by one, or with open_chosen(config)"


def open_backend(
    url: str,
    *,
    key_prefix: str = "session:",
    timeout: float = 1.0,
    fsync: Fsync = "none",
    folder_group: str | None = None,
    sql_schema: SqlSchema = "require",
    purpose: Purpose = "use",
    clock: Callable[[], float] = wall_clock,
) -> Backend:
    """Return the backend that a URL names. Servers are not asked before the first use.

    ``memory://``, ``file:///folder``, ``redis://host:port/db``, ``rediss://…``, ``unix:///socket``,
    ``redis+sentinel://host1,host2/service/db``, ``redis+cluster://host1,host2`` (and ``rediss+…``),
    ``postgresql://user@host/database``, ``sqlite:////file``, ``mariadb://user@host/database``. Any
    other raises ConfigurationError, without its password.

    Args:
        key_prefix: the beginning of all keys, for Redis.
        fsync: "none", "data" or "full", for files.
        folder_group: the group whose members may write to the folder, for files.
        sql_schema: whether missing tables are created on the first use, for SQL.
        clock: seconds since the epoch, for memory and files.
        timeout: the most seconds of one store call.
        purpose: with "look", a missing store is a fault and is not made.
    """
    return _opener_of_one(url)(
        url,
        key_prefix=key_prefix,
        timeout=timeout,
        fsync=fsync,
        folder_group=folder_group,
        sql_schema=sql_schema,
        purpose=purpose,
        clock=clock,
    )


def _unknown(url: str) -> ConfigurationError:
    scheme = url.partition(":")[0]
    known = ", ".join(f"{name}://" for name in _OPENERS)
    return ConfigurationError(f"unknown session store {scheme[:40]!r}: use one of {known}")


def is_store_url(url: str) -> bool:
    """Return whether the scheme of a URL is that of a session store."""
    return _opener(url) is not None


def is_sql_url(url: str) -> bool:
    """Return whether the scheme of a URL is that of a SQL database."""
    return _opener(url) is _open_sql


def _opener(url: str) -> Callable[..., Backend] | None:
    scheme = url.partition(":")[0]
    database, _, driver = scheme.partition("+")
    if driver and _OPENERS.get(database) is _open_sql:
        return _open_sql
    return _OPENERS.get(scheme)


def _opener_of_one(url: str) -> Callable[..., Backend]:
    if len(separate(url)) > 1:
        raise ConfigurationError(_SEVERAL)
    opener = _opener(url)
    if opener is None:
        raise _unknown(url)
    return opener


def _adapter(name: str) -> Any:
    return import_module(f"wsgi_sessions.stores.{name}.backend")


def _open_memory(url: str, *, clock: Callable[[], float], **_: object) -> Backend:
    if url != "memory://":
        raise ConfigurationError("the memory store takes no address: write memory://")
    backend: Backend = _adapter("memory").open_memory(clock=clock)
    return backend


def _open_file(
    url: str,
    *,
    timeout: float,
    fsync: Fsync,
    folder_group: str | None,
    purpose: Purpose,
    clock: Callable[[], float],
    **_: object,
) -> Backend:
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost") or not path.startswith("/") or "\0" in path:
        raise ConfigurationError(
            "a file store needs an absolute path, with three slashes: file:///var/lib/sessions"
        )
    if parts.query or parts.fragment:
        raise ConfigurationError("a file store's URL has no options: file:///var/lib/sessions")
    backend: Backend = _adapter("file").open_files(
        path, fsync=fsync, timeout=timeout, group=folder_group, purpose=purpose, clock=clock
    )
    return backend


def _open_redis(url: str, *, key_prefix: str, timeout: float, **_: object) -> Backend:
    backend: Backend = _adapter("redis").open_redis(url, key_prefix=key_prefix, timeout=timeout)
    return backend


def _open_sql(
    url: str, *, timeout: float, sql_schema: SqlSchema, purpose: Purpose, **_: object
) -> Backend:
    create_all = sql_schema == "create" and purpose != "look"
    return open_sql(url, timeout=timeout, create_all=create_all)


_OPENERS: Mapping[str, Callable[..., Backend]] = MappingProxyType(
    {
        "memory": _open_memory,
        "file": _open_file,
        "redis": _open_redis,
        "rediss": _open_redis,
        "unix": _open_redis,
        "redis+sentinel": _open_redis,
        "rediss+sentinel": _open_redis,
        "redis+cluster": _open_redis,
        "rediss+cluster": _open_redis,
        "postgresql": _open_sql,
        "postgres": _open_sql,
        "sqlite": _open_sql,
        "mysql": _open_sql,
        "mariadb": _open_sql,
    }
)
