"""Flask: ``flask.session`` is a session of this package, and routes do not change.

    app = Flask(__name__)
    app.config["SECRET_KEY"] = …
    WSGISessions(app)

`wsgi_sessions.contrib.flask.config` says which settings are read, and which one counts.
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
    """The typed session of the request at hand: ``current_session().increment("visits")``.

    It is the same as ``flask.session``. Raises LookupError where the request has none, and
    RuntimeError outside of a request.
    """
    opened = session._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001  # public in Werkzeug's LocalProxy
    if isinstance(opened, FlaskSession):  # not the environ's: of a socket, several events have one
        return ending_of(opened).exchange.transaction.session
    return get_session(request.environ)


def exclusive(view: Callable[P, Any]) -> Callable[P, Any]:
    """Let requests of one session run one at a time in a view, by whatever path they come::

        @app.post("/coupon")
        @exclusive
        def coupon(): ...

    See `wsgi_sessions.exclusive` for what that promises, and what it raises.
    """

    @wraps(view)
    def hold(*args: P.args, **kwargs: P.kwargs) -> Any:
        get_transaction(request.environ).hold()
        return current_app.ensure_sync(view)(*args, **kwargs)

    return hold


def config_of_app(app: Flask) -> Config:
    """The configuration of an application that uses `WSGISessions`. Raises ConfigurationError."""
    return config_of(settings_of(app), os.environ, application_of(app))


class WSGISessions(SessionInterface):
    """Flask's sessions, kept by this package::

        sessions = WSGISessions()

        def create_app():
            app = Flask(__name__)
            app.config.from_prefixed_env()
            sessions.init_app(app)
            return app

    `init_app` wraps ``app.wsgi_app`` in what `wsgi_sessions.build` makes, so that all its promises
    hold: the commit takes place when the headers leave, after every ``after_request`` function; a
    store that does not answer is a 503, also where the application handles exceptions; streams,
    conflicts, health paths and the `hooks` of `build` are as without Flask. What else wraps
    ``app.wsgi_app`` may do so before or after. An interface that is only assigned to
    ``app.session_interface`` does the same from the second request on; it commits the first one
    before the headers leave.

    Without a secret there is no session, as always in Flask: it reads as empty, and RuntimeError
    tells who writes.

    Raises ConfigurationError at `init_app` for settings that are wrong by then. The store is opened
    at the first request. What Flask lets applications change later (secrets, cookie, lifetime)
    counts from the next request on.

    Subclasses override what Flask documents: each ``get_cookie_…``, `get_expiration_time`,
    `should_set_cookie` (False: no cookie, so that a new session is dropped, and of another only
    what needs no cookie is stored), `save_session` (not called: nothing is stored, but a log-out
    takes place). What is dropped in this way is reported as event ``dropped``.
    """

    def __init__(self, app: Flask | None = None, **hooks: Unpack[Hooks]) -> None:
        require_known(hooks)
        self._hooks = hooks
        self._overrides = Overrides(self, WSGISessions)
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Keep this application's sessions. Raises ConfigurationError."""
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
                    "a session gets another id when one of these keys appears in it: %s; "
                    "WSGI_SESSIONS_LOGIN_KEYS names others, or off",
                    ", ".join(config.login_keys),
                )
        app.session_interface = self

    def manager(self, app: Flask) -> SessionManager:
        """To find and end sessions, as in ``manager(app).destroy_sessions_of("alice")``.

        Raises ConfigurationError, and RuntimeError without a secret.
        """
        stack = self._served(app).stack()
        if stack is None:
            raise RuntimeError("there are no sessions: SECRET_KEY is not set")
        return stack.manager

    def close(self, app: Flask) -> None:
        """Stop what runs in the background for this application, and close the store's connections.

        Processes that end need not call it; tests had better. The next request opens all anew.
        """
        served = app.extensions.get(EXTENSION)
        if isinstance(served, ServedApp):
            served.close()

    def open_session(self, app: Flask, request: Request) -> SessionMixin | None:
        """The session of a request; None without a secret. Nothing is read yet."""
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
        """Have it committed when the headers leave, or, if nobody else will, now.

        Raises UnserializableValue; in a ``session_transaction()`` StoreUnavailable and the other
        `REFUSALS` too.
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
            ending.origin = Origin.REQUEST  # of a page, whose query looks like that of a socket
            _commit(ending.exchange, session, response)

    def regenerate(self, session: SessionMixin) -> None:
        """Give a session a new id, under Flask-Session's name; see `Session.cycle_id`."""
        if isinstance(session, FlaskSession):
            session.cycle_id()

    def _ask_overrides(self, app: Flask, session: FlaskSession, ending: Ending) -> None:
        """Ask the methods that a subclass has in place of Flask's."""
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
    """Commit a session that came without the stack, into the response's headers."""
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
