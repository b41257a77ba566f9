"""The peers, each configured as its documentation recommends for production, serving `pages`.

Where a document leaves a choice, the one that costs the peer less is taken: Beaker saves when it is
told to (not ``auto``), cachelib never evicts (its documented ``threshold=500`` drops live sessions;
`growth` shows that), connections are kept open (Django's ``CONN_MAX_AGE``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from benchmarks.contestants.pages import answer, nothing, page
from benchmarks.contestants.table import Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from benchmarks.harness.places import Place

SECRET = "benchmark-secret-benchmark-secret-benchmark"
DAY = 24 * 3600
ROUTES = (
    *("null", "new", "read", "write", "key", "append", "increment"),
    *("slow", "grow", "logout", "state"),
)


def wsgi_bare(_: Place) -> Site:
    """No framework, no sessions."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return answer(start_response, page(environ, dict, end=nothing))

    return Site(app)


# -- secure-cookie and Beaker: middlewares ---------------------------------------------------------


def secure_cookie(place: Place) -> Site:
    """A `FilesystemSessionStore` behind its `SessionMiddleware`, missing sessions renewed."""
    from secure_cookie.session import FilesystemSessionStore, SessionMiddleware

    store = FilesystemSessionStore(place.part("secure-cookie"), renew_missing=True)

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        session = environ["secure_cookie.session"]

        def save() -> None:
            session.modified = True

        def end() -> None:
            store.delete(session)

        return answer(start_response, page(environ, lambda: session, save=save, end=end))

    return Site(SessionMiddleware(app, store, cookie_httponly=True))


def _beaker(options: dict[str, Any]) -> Site:
    from beaker.middleware import SessionMiddleware

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        session = environ["beaker.session"]
        body = page(environ, lambda: session, save=session.save, end=lambda: session.delete())
        return answer(start_response, body)

    common = {
        "session.cookie_expires": DAY,
        "session.timeout": DAY,
        "session.secret": SECRET,
        "session.httponly": True,
        "session.data_serializer": "json",
    }
    return Site(SessionMiddleware(app, {**common, **options}))


def beaker_file(place: Place) -> Site:
    """``session.type = file``."""
    return _beaker({"session.type": "file", "session.data_dir": place.part("beaker")})


def beaker_redis(place: Place) -> Site:
    """``session.type = ext:redis``."""
    return _beaker(
        {
            "session.type": "ext:redis",
            "session.url": place.redis,
            "session.lock_dir": place.part("beaker-locks"),
        }
    )


# -- Flask -----------------------------------------------------------------------------------------


def _flask(place: Place, configure: Callable[[Any], None], *, folder: str = "flask") -> Site:
    import flask

    app = flask.Flask("benchmark", instance_path=place.part(folder))
    app.config["SECRET_KEY"] = SECRET
    app.config["PERMANENT_SESSION_LIFETIME"] = DAY
    configure(app)

    def save() -> None:
        flask.session.modified = True

    def view() -> Any:
        environ = flask.request.environ
        session: Any = flask.session
        body = page(environ, lambda: session, save=save, end=session.clear)
        return flask.Response(body, mimetype="text/plain")

    for route in ROUTES:
        app.add_url_rule(f"/{route}", route, view, methods=["GET"])
    return Site(app)


def flask_bare(place: Place) -> Site:
    """Flask with a session interface that does nothing."""
    from flask.sessions import NullSession, SessionInterface

    class NoSessions(SessionInterface):
        def open_session(self, *_: Any) -> Any:
            return NullSession()

        def save_session(self, *_: Any) -> None:
            pass

    def configure(app: Any) -> None:
        app.session_interface = NoSessions()

    return _flask(place, configure)


def flask_cookie(place: Place) -> Site:
    """Flask's own: signed values in the cookie, nothing on the server."""
    return _flask(place, lambda _: None)


def _flask_session(place: Place, **settings: Any) -> Site:
    def configure(app: Any) -> None:
        from flask_session import Session

        app.config.update(settings)
        Session(app)

    return _flask(place, configure)


def flask_redis(place: Place) -> Site:
    """``SESSION_TYPE = "redis"``."""
    from redis import Redis

    return _flask_session(
        place, SESSION_TYPE="redis", SESSION_REDIS=Redis.from_url(str(place.redis))
    )


def flask_cachelib(place: Place, threshold: int = 0) -> Site:
    """``SESSION_TYPE = "cachelib"`` on files."""
    from cachelib.file import FileSystemCache

    cache = FileSystemCache(place.part(f"cachelib-{threshold}"), threshold=threshold)
    return _flask_session(place, SESSION_TYPE="cachelib", SESSION_CACHELIB=cache)


def flask_cachelib_500(place: Place) -> Site:
    """The same with the threshold of its documentation."""
    return flask_cachelib(place, threshold=500)


def _flask_sql(place: Place, url: str) -> Site:
    def configure(app: Any) -> None:
        from flask_session import Session
        from flask_sqlalchemy import SQLAlchemy

        app.config["SQLALCHEMY_DATABASE_URI"] = url
        app.config["SESSION_TYPE"] = "sqlalchemy"
        app.config["SESSION_SQLALCHEMY"] = SQLAlchemy(app)
        with place.lock("flask-sql"):  # it creates the table
            Session(app)

    return _flask(place, configure)


def flask_sqlite(place: Place) -> Site:
    """``SESSION_TYPE = "sqlalchemy"`` on SQLite."""
    return _flask_sql(place, f"sqlite:///{place.part('flask-sqlite')}/sessions.db")


def flask_postgresql(place: Place) -> Site:
    """``SESSION_TYPE = "sqlalchemy"`` on PostgreSQL."""
    url = place.database("flask")
    return _flask_sql(place, url.replace("postgresql:", "postgresql+psycopg:"))


# -- Pyramid ---------------------------------------------------------------------------------------


def _pyramid(configure: Callable[[Any], None]) -> Site:
    from pyramid.config import Configurator
    from pyramid.response import Response

    def view(request: Any) -> Any:
        def end() -> None:
            request.session.invalidate()

        def save() -> None:
            request.session.changed()

        body = page(request.environ, lambda: request.session, save=save, end=end)
        return Response(body, content_type="text/plain")

    config = Configurator()
    configure(config)
    for route in ROUTES:
        config.add_route(route, f"/{route}")
        config.add_view(view, route_name=route)
    return Site(config.make_wsgi_app())


def pyramid_bare(_: Place) -> Site:
    """Pyramid without a session factory."""
    return _pyramid(lambda _: None)


def pyramid_redis(place: Place) -> Site:
    """pyramid_session_redis by its `includeme`."""

    def configure(config: Any) -> None:
        config.registry.settings.update(
            {
                "redis.sessions.secret": SECRET,
                "redis.sessions.redis_url": place.redis,
                "redis.sessions.timeout": DAY,
            }
        )
        config.include("pyramid_session_redis")

    return _pyramid(configure)


# -- Django: one configuration for each process ----------------------------------------------------


class Urls:
    """Django's ROOT_URLCONF: a module, or whatever has `urlpatterns`."""

    def __init__(self, view: Callable[[Any], Any]) -> None:
        from django.urls import path

        self.urlpatterns = [path(route, view) for route in ROUTES]

    def __hash__(self) -> int:
        return id(self)


def _django(place: Place, engine: str | None = None, **settings: Any) -> Site:
    import django
    from django.conf import settings as django_settings

    middleware = ["django.contrib.sessions.middleware.SessionMiddleware"] if engine else []
    django_settings.configure(
        SECRET_KEY=SECRET,
        ALLOWED_HOSTS=["*"],
        INSTALLED_APPS=["django.contrib.sessions"],
        MIDDLEWARE=middleware,
        SESSION_ENGINE=f"django.contrib.sessions.backends.{engine}",
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
    return _django(place)


def django_file(place: Place) -> Site:
    """``backends.file``."""
    return _django(place, "file", SESSION_FILE_PATH=place.part("django"))


def django_cache(place: Place) -> Site:
    """``backends.cache`` on Django's own Redis cache."""
    return _django(place, "cache", CACHES=_redis_cache(place))


def django_sqlite(place: Place) -> Site:
    """``backends.db`` on SQLite, write-ahead log."""
    return _django(place, "db", DATABASES=_sqlite_database(place))


def django_postgresql(place: Place) -> Site:
    """``backends.db`` on PostgreSQL."""
    return _django(place, "db", DATABASES=_postgresql_database(place, "django"))


def django_cached_db(place: Place) -> Site:
    """``backends.cached_db``: PostgreSQL, and Redis in front of it."""
    databases = _postgresql_database(place, "django-cached")
    return _django(place, "cached_db", DATABASES=databases, CACHES=_redis_cache(place))
