"""SessionMiddleware: gives every request a session, and commits it before the headers leave."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.http.cookies.comebacks import Comebacks
from wsgi_sessions.http.devices import label_device
from wsgi_sessions.http.exchange import SessionExchange
from wsgi_sessions.http.path_patterns import PathPatterns
from wsgi_sessions.http.response import LateResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from wsgi_sessions.core.manager import SessionManager
    from wsgi_sessions.core.source import Access
    from wsgi_sessions.core.transaction import Transaction
    from wsgi_sessions.http.answers import OnUnavailable
    from wsgi_sessions.http.cookies.session_cookie import SessionCookie
    from wsgi_sessions.http.devices import NameDevice
    from wsgi_sessions.importers.adoption import Adoption
    from wsgi_sessions.stack.declared.requests import BusyStatus


class SessionMiddleware:
    """Puts a `Session` into ``environ["wsgi_sessions.session"]`` of every request::

        backend = open_backend("file:///var/lib/app/sessions")
        cookie = SessionCookie(CookiePolicy(), IdSigner([secret]))
        application = SessionMiddleware(application, SessionManager(backend), cookie)

    A request that does not touch its session costs no store call and no cookie parsing; one that
    reads it, one store call; one that changes it, one more. The commit takes place just before the
    headers leave, so that a generator may still change the session before its first chunk. Later
    changes are committed when the body's iterator ends, before the server learns of that, or when
    the body is closed before its end, unless they need a cookie. If that fails, the server gets the
    error, and event ``lost`` reports it: the status had left.

    A request that ends without a response, as a WebSocket does (StopIteration, or an empty body
    without start_response), commits what needs no cookie. A response of status 500 or more, and an
    exception, commit nothing, which is event ``dropped``, but a log-out takes place. If the store
    does not answer, a request that needs its session gets 503 with Retry-After; other requests are
    not affected. `SessionConflict` is answered with 409.

    Args:
        exclusive_paths: `PathPatterns` (``/cart/*``) of paths whose requests run one at a time per
            session, from their first access of the session to the commit that goes with the
            headers: a client that reads slowly keeps no other waiting.
        busy_status: answers a request that finds too many others waiting for its session.
        on_unavailable: a WSGI application that answers in place of this middleware where a session
            could not be reached or stored (503, 409), with its own status, headers and body. Its
            environ has the error as ``wsgi_sessions.error``, and no request body; the session reads
            as empty. Without one, or if it fails, the answer is text, or JSON where ``Accept`` asks
            for that. If the application caught the error and answers itself, its answer counts,
            unless it is a 500.
        adoption: asked about requests without a valid cookie of ours: they may have another
            library's, whose session it takes over.
        login_cookies: cookies by which an application remembers a user: a request that a log-in has
            superseded neither sets nor deletes them.
        early_cookie: make an empty session for a visitor who loads a page without one; see
            `http.cookies.early`. If the store does not answer then, the page still goes out.
        retry_token_header: a header such as ``Idempotency-Key``, with the token of a request that a
            client may repeat if it got no answer: see `Session.is_repeated`. Method, path, query
            and body have to be the same too. The body is read before the application runs; a
            request with more than 64 KB of it, or without its length, is never recognized.
        name_device: gives the label of a session, or None, by the User-Agent header of a log-in.
        when_opened: called with each request that comes by `open`, and so past the middlewares
            inside of this one.
    """

    def __init__(
        self,
        app: WSGIApplication,
        manager: SessionManager,
        cookie: SessionCookie,
        *,
        exclusive_paths: Sequence[str] = (),
        adoption: Adoption | None = None,
        busy_status: BusyStatus = "503",
        on_unavailable: OnUnavailable | None = None,
        login_cookies: Sequence[str] = (),
        early_cookie: bool = False,
        retry_token_header: str | None = None,
        name_device: NameDevice | None = None,
        when_opened: Callable[[WSGIEnvironment, Transaction], object] | None = None,
    ) -> None:
        self.app = app
        self._when_opened = when_opened
        self.manager = manager
        self.meter = manager.events.meter
        self.cookie = cookie
        self.adoption = adoption
        self.busy_status: BusyStatus = busy_status
        self.on_unavailable = on_unavailable
        self.login_cookies = login_cookies
        self.gives_early = early_cookie
        self._name_device = name_device
        self.retry_token_key = _key_of(retry_token_header)
        self.exclusive_paths = PathPatterns(exclusive_paths) if exclusive_paths else None
        self.comebacks = Comebacks()
        self._told_of_http = False

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """PEP 3333."""
        exchange = SessionExchange(self, environ)
        if self._name_device is not None:
            label_device(exchange.transaction, environ, self._name_device)
        return LateResponse(environ, start_response, exchange).run(self.app)

    def open(self, environ: WSGIEnvironment) -> SessionExchange:
        """Begin a request: its session is in the environ. Nothing is parsed or read yet.

        For adapters of frameworks without a WSGI response at hand; they call the `Handler` methods.
        """
        exchange = SessionExchange(self, environ)
        if self._name_device is not None:
            label_device(exchange.transaction, environ, self._name_device)
        if self._when_opened is not None:
            self._when_opened(environ, exchange.transaction)
        return exchange

    def access(self, *paths: str) -> Access:
        """Return whether a request on this path, under any form of it, shares its session."""
        if self.exclusive_paths is None or not self.exclusive_paths.match(*paths):
            return "shared"
        return "exclusive"

    def warn_of_http(self) -> None:
        """Warn once per process of a cookie without Secure, unless the policy asks for that."""
        if not self._told_of_http and self.cookie.policy.secure != "never":
            self._told_of_http = True
            self.manager.events.emit(
                "insecure",
                advice="the session cookie goes out over plain http without Secure: behind a proxy "
                "that ends TLS, pass its scheme on (werkzeug's ProxyFix), or set "
                "`cookie.secure=always`",
            )


def _key_of(header: str | None) -> str | None:
    return None if header is None else f"HTTP_{header.upper().replace('-', '_')}"
