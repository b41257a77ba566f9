"""Flask: ``flask.session`` is a session of this package, and routes do not change.

    app = Flask(__name__)
    app.config["SECRET_KEY"] = …
    WSGISessions(app)

See `wsgi_sessions.contrib.flask.config` for the settings and their precedence.
"""

from __future__ import annotations

import os
from functools import wraps
from typing import TYPE_CHECKING, Any

from flask import current_app, request, session
from flask.sessions import SessionInterface

from wsgi_sessions import texts
from wsgi_sessions.contrib.flask.commands import add_commands
from wsgi_sessions.contrib.flask.config import config_of, lifetime_of
from wsgi_sessions.contrib.flask.ending import Ending, Origin
from wsgi_sessions.contrib.flask.errors import register
from wsgi_sessions.contrib.flask.events import end_with_context, is_event, mark_pages
from wsgi_sessions.contrib.flask.mapping import FlaskSession, ending_of
from wsgi_sessions.contrib.flask.naming import application_of, enlist
from wsgi_sessions.contrib.flask.overrides import Overrides, settings_of
from wsgi_sessions.contrib.flask.served import ServedApp
from wsgi_sessions.http.environ import get_session, get_transaction
from wsgi_sessions.stack.hooks import require_known

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask, Request, Response
    from flask.sessions import SessionMixin
    from typing_extensions import ParamSpec, Unpack

    from wsgi_sessions.core.manager import SessionManager
    from wsgi_sessions.core.session import Session
    from wsgi_sessions.http.exchange import SessionExchange
    from wsgi_sessions.stack.config import Config
    from wsgi_sessions.stack.hooks import Hooks

    P = ParamSpec("P")

EXTENSION = "wsgi_sessions"
_log = texts.log(__name__)


def current_session() -> Session:
    """Return the typed session of the current request: ``current_session().increment("visits")``.

    It is the same session as ``flask.session``. Raises LookupError if the request has none, and
    RuntimeError outside a request.
    """
    opened = session._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001  # public in Werkzeug's LocalProxy
    if isinstance(opened, FlaskSession):  # not the environ's: several events of a socket share it
        return ending_of(opened).exchange.transaction.session
    return get_session(request.environ)


def exclusive(view: Callable[P, Any]) -> Callable[P, Any]:
    """Run requests of one session one at a time in a view, on any path::

        @app.post("/coupon")
        @exclusive
        def coupon(): ...

    See `wsgi_sessions.exclusive` for its promises and errors.
    """

    @wraps(view)
    def hold(*args: P.args, **kwargs: P.kwargs) -> Any:
        get_transaction(request.environ).hold()
        return current_app.ensure_sync(view)(*args, **kwargs)

    return hold


def config_of_app(app: Flask) -> Config:
    """Return the configuration of an application that uses `WSGISessions`. Raises
    ConfigurationError."""
    return config_of(settings_of(app), os.environ, application_of(app))


class WSGISessions(SessionInterface):
    """Flask's sessions, kept by this package::

        sessions = WSGISessions()

        def create_app():
            app = Flask(__name__)
            app.config.from_prefixed_env()
            sessions.init_app(app)
            return app

    `init_app` wraps ``app.wsgi_app`` in the stack of `wsgi_sessions.build`, so that all its
    promises hold: the commit happens when the headers are sent, after all ``after_request``
    functions; a store that does not answer causes a 503, even if the application handles
    exceptions; streams, conflicts, health paths and the `hooks` of `build` work as without Flask.
    Other middlewares may wrap ``app.wsgi_app`` before or after. An interface that is only assigned
    to ``app.session_interface`` does the same from the second request on; it commits the first one
    before the headers are sent.

    Without a secret there is no session, as always in Flask: it reads as empty, and writing raises
    RuntimeError.

    Raises ConfigurationError in `init_app` for settings that are wrong at that time. The store is
    opened at the first request. Settings that Flask lets applications change later (secrets,
    cookie, lifetime) apply from the next request on.

    Subclasses may override the methods that Flask documents: each ``get_cookie_…``,
    `get_expiration_time`, `should_set_cookie` (False: no cookie, so that a new session is dropped,
    and only changes that need no cookie are stored in others), `save_session` (not called: nothing
    is stored except a log-out). Dropped changes are reported as event ``dropped``.
    """

    def __init__(self, app: Flask | None = None, **hooks: Unpack[Hooks]) -> None:
        require_known(hooks)
        self._hooks = hooks
        self._overrides = Overrides(self, WSGISessions)
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Set up the sessions of an application. Raises ConfigurationError."""
        config = config_of(settings_of(app), os.environ)
        enlist(app)
        add_commands(app)
        served = app.extensions.get(EXTENSION)
        if not (isinstance(served, ServedApp) and served.interface is self):
            served = app.extensions[EXTENSION] = ServedApp(self, app, self._hooks)
            app.wsgi_app = served  # type: ignore[method-assign]  # as Flask's own documentation does
            register(app)
            mark_pages(app)
            if config.login_keys:
                _log.info(
                    "the id of a session changes when one of these keys appears in it: %s; set "
                    "WSGI_SESSIONS_LOGIN_KEYS to others, or to off",
                    ", ".join(config.login_keys),
                )
        app.session_interface = self

    def manager(self, app: Flask) -> SessionManager:
        """Return the manager that finds and ends sessions:
        ``manager(app).destroy_sessions_of("alice")``.

        Raises ConfigurationError, and RuntimeError without a secret.
        """
        stack = self._served(app).stack()
        if stack is None:
            raise RuntimeError("there are no sessions: SECRET_KEY is not set")
        return stack.manager

    def close(self, app: Flask) -> None:
        """Stop the background threads of this application and close the store's connections.

        Tests should call it; a process that ends need not. The next request opens everything again.
        """
        served = app.extensions.get(EXTENSION)
        if isinstance(served, ServedApp):
            served.close()

    def open_session(self, app: Flask, request: Request) -> SessionMixin | None:
        """Return the session of a request; None without a secret. Nothing is read yet."""
        served = self._served(app)
        transaction, origin = served.take(request.environ)
        if transaction is None:
            stack = served.stack()
            if stack is None:
                return None
            transaction = stack.sessions.open(request.environ).transaction
        exchange: SessionExchange = transaction.request
        exchange.cookie = self._overrides.cookie_for(app, exchange.cookie)
        if self._overrides.saving:
            exchange.keeping = "nothing"  # until it is saved
        ending = Ending(
            exchange,
            origin,
            lifetime_of(settings_of(app)),
            permanent_by_default=app.config.get("SESSION_PERMANENT"),
        )
        if origin is Origin.EVENT:
            end_with_context(request, ending)
        return FlaskSession(ending)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Let it be committed when the headers are sent, or, if nothing else will, commit it now.

        Raises UnserializableValue; in a ``session_transaction()`` also StoreUnavailable and the
        other `REFUSALS`.
        """
        if not isinstance(session, FlaskSession):
            return
        ending = ending_of(session)
        if ending.exchange.transaction.has_failed:
            return
        ending.check()
        each = app.config.get("SESSION_REFRESH_EACH_REQUEST", True)
        ending.renew("each request" if each else "on change")
        self._ask_overrides(app, session, ending)
        saves_event = is_event(request.environ, response)
        if saves_event and ending.origin is not Origin.REQUEST:
            ending.exchange.exhausted()
        elif ending.origin is not Origin.STACK:
            ending.origin = Origin.REQUEST  # a page with a query like that of a socket
            _commit(ending.exchange, session, response)

    def regenerate(self, session: SessionMixin) -> None:
        """Give a session a new id, as in Flask-Session; see `Session.cycle_id`."""
        if isinstance(session, FlaskSession):
            session.cycle_id()

    def _ask_overrides(self, app: Flask, session: FlaskSession, ending: Ending) -> None:
        """Call the methods that a subclass overrides."""
        overrides, exchange = self._overrides, ending.exchange
        exchange.cookie = overrides.cookie_for(app, exchange.cookie)
        exchange.keeping = "all"
        if overrides.expiry:
            ending.expire(self.get_expiration_time(app, session))
        if overrides.setting and not (session.modified and not session):  # ended: see Flask
            exchange.keeping = (
                "all" if self.should_set_cookie(app, session) else "what needs no cookie"
            )

    def _served(self, app: Flask) -> ServedApp:
        served = app.extensions.get(EXTENSION)
        if not (isinstance(served, ServedApp) and served.interface is self):
            self.init_app(app)
            served = app.extensions[EXTENSION]
        return served  # Flask's registry of extensions is untyped


def _commit(exchange: SessionExchange, opened: FlaskSession, response: Response) -> None:
    """Commit a session opened outside the stack, into the headers of the response."""
    answer = exchange.finish(response.status, response.headers.to_wsgi_list())
    current = session._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001  # public in Werkzeug's LocalProxy
    if current is not opened:
        exchange.end(ran_on=False)  # session_transaction(): there is no body
        if exchange.refusal is not None:
            raise exchange.refusal
    else:
        response.call_on_close(lambda: exchange.end(ran_on=True))
    if answer is None:
        return
    response.status = answer.status
    response.headers.clear()
    response.headers.extend(answer.headers)
    if answer.body is not None:
        response.set_data(answer.body)
