"""Socket events in Flask: one environ, many contexts, and responses that are never sent.

Flask-SocketIO enters a request context for each event, with the environ of the connecting request,
calls the handler, and saves the session into a response that it discards. Several threads may do so
at once, also after that request has ended. So each event has its own transaction, which is
committed when the session is saved, without a cookie, and ends with its context.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import request

from wsgi_sessions.contrib.flask.ending import Origin
from wsgi_sessions.http.exchange import NOT_SAVED

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment
    from flask import Flask, Request, Response

    from wsgi_sessions.contrib.flask.ending import Ending

_PAGE_KEY = "wsgi_sessions.flask.page"


def is_socket(environ: WSGIEnvironment) -> bool:
    """Return whether a request is one of Engine.IO, by the parameter that all its clients send."""
    return "EIO=" in environ.get("QUERY_STRING", "")


def mark_pages(app: Flask) -> None:
    """Mark requests to distinguish them from events: only requests pass here, before any function
    of the application."""
    app.url_value_preprocessors.setdefault(None, []).insert(0, _mark)


def _mark(_endpoint: str | None, _values: dict[str, Any] | None) -> None:
    request.environ[_PAGE_KEY] = True


def is_event(environ: WSGIEnvironment, response: Response) -> bool:
    """Return whether a session is being saved for an event. Call it once."""
    if environ.pop(_PAGE_KEY, False):
        return False
    return response.status_code == 200 and not response.response  # unchanged since it was made


def end_with_context(request: Request, ending: Ending) -> None:
    """End the transaction of an event with its context: Flask closes the request then.

    Unsaved changes are dropped and reported.
    """
    close = request.close

    def end() -> None:
        close()
        if ending.origin is Origin.EVENT:
            try:
                ending.exchange.transaction.roll_back(NOT_SAVED)
            finally:
                ending.exchange.end(ran_on=False)

    request.close = end  # type: ignore[method-assign]  # of this one request
