"""WSGIBrowser: a test client that calls a WSGI application (Werkzeug's, Flask's, WebTest's)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from werkzeug.test import run_wsgi_app

from wsgi_sessions.testing.browsers.browser import PreparedRequest
from wsgi_sessions.testing.wrapped import sessions_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from _typeshed.wsgi import StartResponse, WSGIEnvironment
    from werkzeug.test import Client

    from wsgi_sessions.core.manager import SessionManager

_CONTEXTS = "werkzeug.debug.preserve_context"


class StandIn:
    """In place of an application: answers for it, and has its attributes."""

    def __init__(
        self, app: Any, answer: Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]
    ) -> None:
        self._app = app
        self._answer = answer

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """PEP 3333."""
        return self._answer(environ, start_response)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)


class WSGIBrowser:
    """The `SessionBrowser` of a client that calls a WSGI application.

    `holder` is the client's attribute with the application; `send` makes a request, `repeat` makes
    the one again that came to the application with an environ. `sessions` is the `Stack` or
    `SessionMiddleware` if the application hides it.
    """

    def __init__(
        self,
        client: Any,
        *,
        holder: str,
        send: Callable[[Any], Any],
        repeat: Callable[[Any, WSGIEnvironment], Any],
        sessions: Any = None,
    ) -> None:
        self.client = client
        self._holder = holder
        self._send = send
        self._repeat = repeat
        self._wrapped = getattr(client, holder) if sessions is None else sessions
        sessions_of(self._wrapped)

    @property
    def manager(self) -> SessionManager:
        """See `SessionBrowser`."""
        return sessions_of(self._wrapped).manager

    @contextmanager
    def session(self, path: str | None, more: Mapping[str, Any]) -> Iterator[Any]:
        """See `SessionBrowser`."""
        sessions = sessions_of(self._wrapped)
        request = {"path": sessions.cookie.policy.path if path is None else path, **more}
        environ = self._environ(request)
        exchange = sessions.open(environ)
        try:
            yield exchange.transaction.session
        except BaseException as error:
            exchange.fail(error)
            exchange.end(ran_on=False)
            raise
        answer = exchange.finish("200 OK", [("Content-Type", "text/plain")])
        exchange.end(ran_on=False)
        if exchange.refusal is not None:
            raise exchange.refusal
        if answer is not None:
            self._receive(request, environ, ([], answer.status, answer.headers))

    def login(self, principal: Any, data: Mapping[str, Any]) -> None:
        """See `SessionBrowser`."""
        key = self.manager.identity.principal_key
        with self.session(None, {}) as session:
            if key is None:
                session.login(principal)
            else:
                session[key] = principal
            session.update(data)

    def prepare(self, request: Any) -> PreparedRequest:
        """See `SessionBrowser`."""
        environ = self._environ(request)
        environ.pop(_CONTEXTS, None)  # Flask's contexts are of the thread that calls it
        send = partial(run_wsgi_app, getattr(self.client, self._holder), environ, buffered=True)
        return PreparedRequest(send, partial(self._receive, request, environ))

    def _environ(self, request: Any) -> WSGIEnvironment:
        """Return the environ of a request of this browser, without sending it."""
        seen: list[WSGIEnvironment] = []

        def capture(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
            seen.append(environ)
            start_response("204 No Content", [])
            return []

        with self._answered_by(capture):
            self._send(request)
        return seen[0]

    def _receive(
        self, request: Any, environ: WSGIEnvironment, answer: tuple[Iterable[bytes], str, Any]
    ) -> Any:
        """Hand an answer that was made before to the browser."""
        body, status, headers = answer

        def replay(_: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
            start_response(status, list(headers))
            return [*body]

        with self._answered_by(replay):
            return self._repeat(request, environ)

    @contextmanager
    def _answered_by(self, answer: Any) -> Iterator[None]:
        before = getattr(self.client, self._holder)
        setattr(self.client, self._holder, StandIn(before, answer))
        try:
            yield
        finally:
            setattr(self.client, self._holder, before)


def around_werkzeug(client: Client, sessions: Any) -> WSGIBrowser:
    """Return the browser of Werkzeug's client, or of Flask's, which is one."""

    def send(request: Any) -> Any:
        return client.open(**request) if isinstance(request, Mapping) else client.open(request)

    return WSGIBrowser(
        client,
        holder="application",
        send=send,
        repeat=lambda _request, environ: client.open(environ),  # its files are closed by now
        sessions=sessions,
    )


def around_webtest(client: Any, sessions: Any) -> WSGIBrowser:
    """Return the browser of WebTest's ``TestApp``."""

    def send(request: Any) -> Any:
        arguments = dict(request) if isinstance(request, Mapping) else {"path": request}
        path, method = arguments.pop("path", "/"), arguments.pop("method", "GET")
        return getattr(client, method.lower())(path, **arguments)

    return WSGIBrowser(
        client,
        holder="app",
        send=send,
        repeat=lambda request, _environ: send(request),
        sessions=sessions,
    )
