"""This package on each of its stores, in its default configuration."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from benchmarks.contestants.pages import answer, page
from benchmarks.contestants.table import Site
from wsgi_sessions import Config, build, get_session

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.harness.places import Place

SECRET = "benchmark-secret-benchmark-secret-benchmark"


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """The pages."""

    def end() -> None:
        get_session(environ).flush()

    return answer(start_response, page(environ, lambda: get_session(environ), end=end))


def url_of(store: str, place: Place) -> str:
    """Where our sessions are, on a store."""
    if store == "memory":
        return "memory://"
    if store == "file":
        return f"file://{place.part('ours')}"
    if store == "redis":
        return str(place.redis)
    if store == "sqlite":
        return f"sqlite:///{place.part('ours-sqlite')}/sessions.db"
    return place.database("ours")


def _site(store: str, place: Place) -> Site:
    """A wrapped application; cookies also travel over plain HTTP, as on loopback."""
    environ = {
        "WSGI_SESSIONS_URL": url_of(store, place),
        "WSGI_SESSIONS_SECRET_KEYS": SECRET,
        "WSGI_SESSIONS_COOKIE_SECURE": "never",
    }
    return Site(build(application, Config.from_environ(environ)))


def memory(place: Place) -> Site:
    """Memory of this process, which its other workers do not see."""
    return _site("memory", place)


def file(place: Place) -> Site:
    """Files."""
    return _site("file", place)


def redis(place: Place) -> Site:
    """Redis."""
    return _site("redis", place)


def sqlite(place: Place) -> Site:
    """SQLite."""
    return _with_tables("sqlite", place)


def postgresql(place: Place) -> Site:
    """PostgreSQL."""
    return _with_tables("postgresql", place)


def _with_tables(store: str, place: Place) -> Site:
    open_sql = import_module("wsgi_sessions.stores.sql.backend").open_sql
    with place.lock("ours"):  # workers of one server start at once
        backend = open_sql(url_of(store, place), timeout=10.0, create_all=True)
        backend.sessions.ping()  # the first use creates the tables
        backend.close()
    return _site(store, place)
