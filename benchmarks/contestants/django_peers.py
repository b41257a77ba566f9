"""Django and its engines: one configuration for each process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from benchmarks.contestants.pages import page
from benchmarks.contestants.peers import DAY, ROUTES, SECRET
from benchmarks.contestants.table import Site

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.harness.places import Place

BACKENDS = "django.contrib.sessions.backends"
MIDDLEWARE = "django.contrib.sessions.middleware.SessionMiddleware"


class Urls:
    """Django's ROOT_URLCONF: a module, or whatever has `urlpatterns`."""

    def __init__(self, view: Callable[[Any], Any]) -> None:
        from django.urls import path

        self.urlpatterns = [path(route, view) for route in ROUTES]

    def __hash__(self) -> int:
        return id(self)


def django_site(
    place: Place, engine: str | None = None, middleware: str = MIDDLEWARE, **settings: Any
) -> Site:
    """Django with the pages; `engine` is a module, and None for no sessions."""
    import django
    from django.conf import settings as django_settings

    django_settings.configure(
        SECRET_KEY=SECRET,
        ALLOWED_HOSTS=["*"],
        INSTALLED_APPS=["django.contrib.sessions"],
        MIDDLEWARE=[middleware] if engine else [],
        SESSION_ENGINE=engine,
        SESSION_COOKIE_AGE=DAY,
        LOGGING_CONFIG=None,
        USE_TZ=True,
        **settings,
    )
    django.setup()
    if "DATABASES" in settings:
        _create_django_tables(place)
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpResponse

    def view(request: Any) -> Any:
        def save() -> None:
            request.session.modified = True

        def end() -> None:
            request.session.flush()

        body = page(request.environ, lambda: request.session, save=save, end=end)
        length = {"Content-Length": str(len(body))}  # as its CommonMiddleware adds
        return HttpResponse(body, content_type="text/plain", headers=length)

    django_settings.ROOT_URLCONF = Urls(view)
    return Site(WSGIHandler())


def _create_django_tables(place: Place) -> None:
    from django.core.management import call_command
    from django.db import connection

    with place.lock("django"):  # workers of one server start at once
        call_command("migrate", verbosity=0, interactive=False)
    connection.close()


def _redis_cache(place: Place) -> dict[str, Any]:
    backend = "django.core.cache.backends.redis.RedisCache"
    return {"default": {"BACKEND": backend, "LOCATION": place.redis}}


def _sqlite_database(place: Place) -> dict[str, Any]:
    return {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": f"{place.part('django-sqlite')}/django.db",
            "CONN_MAX_AGE": None,
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
                "timeout": 20,
            },
        }
    }


def _postgresql_database(place: Place, name: str) -> dict[str, Any]:
    parts = urlsplit(place.database(name))
    return {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": parts.path.strip("/"),
            "USER": parts.username or "postgres",
            "HOST": parse_qs(parts.query)["host"][0],
            "CONN_MAX_AGE": None,
        }
    }


def django_bare(place: Place) -> Site:
    """Django's handler without middlewares."""
    return django_site(place)


def django_file(place: Place) -> Site:
    """``backends.file``."""
    return django_site(place, f"{BACKENDS}.file", SESSION_FILE_PATH=place.part("django"))


def django_cache(place: Place) -> Site:
    """``backends.cache`` on Django's own Redis cache."""
    return django_site(place, f"{BACKENDS}.cache", CACHES=_redis_cache(place))


def django_sqlite(place: Place) -> Site:
    """``backends.db`` on SQLite, write-ahead log."""
    return django_site(place, f"{BACKENDS}.db", DATABASES=_sqlite_database(place))


def django_postgresql(place: Place) -> Site:
    """``backends.db`` on PostgreSQL."""
    return django_site(place, f"{BACKENDS}.db", DATABASES=_postgresql_database(place, "django"))


def django_cached_db(place: Place) -> Site:
    """``backends.cached_db``: PostgreSQL, and Redis in front of it."""
    databases = _postgresql_database(place, "django-cached")
    return django_site(
        place, f"{BACKENDS}.cached_db", DATABASES=databases, CACHES=_redis_cache(place)
    )


def django_locmem(place: Place) -> Site:
    """``backends.cache`` on the memory of this process, which its other workers do not see."""
    return django_site(place, f"{BACKENDS}.cache", CACHES=_locmem_cache())


def django_cached_db_locmem(place: Place) -> Site:
    """``backends.cached_db``: SQLite, and the memory of this process in front of it."""
    databases, caches = _sqlite_database(place), _locmem_cache()
    return django_site(place, f"{BACKENDS}.cached_db", DATABASES=databases, CACHES=caches)


def _locmem_cache() -> dict[str, Any]:
    return {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
