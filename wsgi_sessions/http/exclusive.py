"""`exclusive`: an application whose requests run one at a time per session."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING

from wsgi_sessions.http.environ import get_transaction

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def exclusive(app: WSGIApplication) -> WSGIApplication:
    """Run the requests of one session one at a time in a WSGI application, on any path::

        @wsgi_sessions.exclusive
        def coupon(environ, start_response): ...

    A request holds its session from here to the commit that goes with the headers, and reads it
    afresh if it has read it before. Unlike ``with session.exclusive()``, leaving the application
    commits nothing, so a response of 500 or more stores nothing. A visitor without a session holds
    nothing up.

    `wsgi_sessions.contrib.flask.exclusive` is the same for a Flask view.

    Raises:
        LookupError: there is no SessionMiddleware outside of it.
        HeadersAlreadySent: the headers have left.
        LockTimeout, StoreUnavailable: as `Session.exclusive`.
    """

    @wraps(app, updated=())
    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        get_transaction(environ).hold()
        return app(environ, start_response)

    return serve
