"""The peers, each configured as its documentation recommends for production, serving `pages`.

Where a document leaves a choice, the one that costs the peer less is taken: Beaker saves when it is
told to (not ``auto``), cachelib never evicts (its documented ``threshold=500`` drops live sessions;
`growth` shows that), connections are kept open (Django's ``CONN_MAX_AGE``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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


def flask_site(place: Place, configure: Callable[[Any], None], *, folder: str = "flask") -> Site:
    """Flask with the pages; `configure` gives it sessions."""
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

    return flask_site(place, configure)


def flask_cookie(place: Place) -> Site:
    """Flask's own: signed values in the cookie, nothing on the server."""
    return flask_site(place, lambda _: None)


def _flask_session(place: Place, **settings: Any) -> Site:
    def configure(app: Any) -> None:
        from flask_session import Session

        app.config.update(settings)
        Session(app)

    return flask_site(place, configure)


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

    return flask_site(place, configure)


def flask_sqlite(place: Place) -> Site:
    """``SESSION_TYPE = "sqlalchemy"`` on SQLite."""
    return _flask_sql(place, f"sqlite:///{place.part('flask-sqlite')}/sessions.db")


def flask_postgresql(place: Place) -> Site:
    """``SESSION_TYPE = "sqlalchemy"`` on PostgreSQL."""
    url = place.database("flask")
    return _flask_sql(place, url.replace("postgresql:", "postgresql+psycopg:"))


# -- Pyramid ---------------------------------------------------------------------------------------


def pyramid_site(configure: Callable[[Any], None]) -> Site:
    """Pyramid with the pages; `configure` gives it sessions."""
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
    return pyramid_site(lambda _: None)


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

    return pyramid_site(configure)


def pyramid_cookie(_: Place) -> Site:
    """Pyramid's own ``SignedCookieSessionFactory``: signed values in the cookie."""

    def configure(config: Any) -> None:
        from pyramid.session import SignedCookieSessionFactory

        config.set_session_factory(SignedCookieSessionFactory(SECRET, timeout=DAY))

    return pyramid_site(configure)
