"""DjangoBrowser: Django's test client, which calls the site's middlewares without WSGI."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.handlers.wsgi import WSGIRequest
from django.core.signals import got_request_exception
from django.db import connections
from django.http import HttpResponse

from wsgi_sessions.contrib.django import SessionStore, manager
from wsgi_sessions.testing.browsers.browser import PreparedRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_sessions.core.manager import SessionManager


class DjangoBrowser:
    """The `SessionBrowser` of ``django.test.Client``.

    A session is opened and saved by Django's SessionMiddleware, and is what views have as
    ``request.session``. Overlapping requests share the database connections of the test, so that
    they see what it has not committed.
    """

    def __init__(self, client: Any) -> None:
        self.client = client
        _require_engine()

    @property
    def manager(self) -> SessionManager:
        """See `SessionBrowser`."""
        return manager()

    @contextmanager
    def session(self, path: str | None, more: Mapping[str, Any]) -> Iterator[SessionStore]:
        """See `SessionBrowser`."""
        asked = {"path": "/" if path is None else path, **more}
        middleware = SessionMiddleware(lambda _: HttpResponse())
        request = WSGIRequest(self._environ(asked))
        middleware.process_request(request)
        yield request.session
        response = middleware.process_response(request, HttpResponse())
        self.client.cookies.update(response.cookies)

    def login(self, principal: Any, data: Mapping[str, Any]) -> None:
        """See `SessionBrowser`."""
        self.client.force_login(_user(principal))
        if data:
            with self.session(None, {}) as session:
                session.update(data)

    def prepare(self, request: Any) -> PreparedRequest:
        """See `SessionBrowser`."""
        environ = self._environ(request)
        shared = [each for each in connections.all() if each.connection is not None]
        send = partial(_send, self.client, environ, shared)
        return PreparedRequest(send, partial(self._receive, request))

    def _environ(self, request: Any) -> dict[str, Any]:
        """Return the environ of a request of this browser, without sending it."""
        seen: list[dict[str, Any]] = []

        def capture(environ: dict[str, Any]) -> HttpResponse:
            seen.append(environ)
            response = HttpResponse(status=204)
            response.wsgi_request = WSGIRequest(environ)
            return response

        with self._answered_by(capture):
            self._make(request)
        return {**seen[0]}

    def _receive(self, request: Any, response: Any) -> Any:
        """Hand a response that was made before to the browser."""
        with self._answered_by(lambda _environ: response):
            return self._make(request)

    def _make(self, request: Any) -> Any:
        arguments = dict(request) if isinstance(request, Mapping) else {"path": request}
        arguments.pop("follow", None)
        path, method = arguments.pop("path", "/"), arguments.pop("method", "GET")
        return getattr(self.client, method.lower())(path, **arguments)

    @contextmanager
    def _answered_by(self, handler: Callable[[dict[str, Any]], Any]) -> Iterator[None]:
        self.client.handler, before = handler, self.client.handler
        try:
            yield
        finally:
            self.client.handler = before


def _send(client: Any, environ: dict[str, Any], shared: list[Any]) -> Any:
    """Have the site answer, in a thread of its own; raise what a view raised."""
    raised: list[BaseException | None] = []
    thread = threading.get_ident()

    def note(**_: Any) -> None:
        if threading.get_ident() == thread:
            raised.append(sys.exc_info()[1])

    got_request_exception.connect(note)
    try:
        with ExitStack() as lent:
            for connection in shared:
                connections[connection.alias] = connection
                connection.inc_thread_sharing()
                lent.callback(connection.dec_thread_sharing)
            response = client.handler(environ)
    finally:
        got_request_exception.disconnect(note)
    if raised and raised[0] is not None and client.raise_request_exception:
        raise raised[0]
    return response


def _user(principal: Any) -> Any:
    """Return the user that is named, if it is not one itself."""
    if not isinstance(principal, str):
        return principal
    from django.contrib.auth import get_user_model

    return get_user_model().objects.get_by_natural_key(principal)


def _require_engine() -> None:
    engine = import_module(settings.SESSION_ENGINE).SessionStore
    if not issubclass(engine, SessionStore):
        raise ValueError(  # noqa: TRY004 - of the settings
            f"no sessions of wsgi_sessions: SESSION_ENGINE is {settings.SESSION_ENGINE!r}, and has "
            "to be 'wsgi_sessions.contrib.django'"
        )
