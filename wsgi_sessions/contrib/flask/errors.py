"""Flask's error handlers, for the errors that are answered in place of a view."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from flask import current_app, request
from werkzeug.exceptions import HTTPException, default_exceptions

from wsgi_sessions.errors import SessionError
from wsgi_sessions.http.answers import ERROR_KEY, REFUSALS, answer_to, refusal_of
from wsgi_sessions.http.environ import TRANSACTION_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from _typeshed.wsgi import StartResponse, WSGIEnvironment
    from flask import Flask, Response

    from wsgi_sessions.http.answers import OnUnavailable
    from wsgi_sessions.stack.declared.requests import BusyStatus

_FAILURE_KEY = "wsgi_sessions.flask.failure"


class Errors:
    """Answers to `REFUSALS` in one application.

    The first of these that exists answers: an error handler for the error's class, or another class
    of this package; one for the status (``@app.errorhandler(503)``) or for HTTPException; `page`,
    which is the hook ``on_unavailable``; the middleware itself. A handler for Exception is meant
    for unknown errors and is not called.
    """

    def __init__(self, app: Flask, page: OnUnavailable | None, busy: BusyStatus = "503") -> None:
        self._app = app
        self._page = page
        self._busy: BusyStatus = busy

    def answer(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes] | None:
        """Answer as an `OnUnavailable`: for errors outside Flask, as at the commit."""
        with self._app.request_context(environ):
            handler = _handler_of(environ[ERROR_KEY], self._busy)
            if handler is not None:
                # Includes additions of `after_request` functions, such as headers for other
                # origins.
                response = self._app.finalize_request(handler(), from_error_handler=True)
                return response(environ, start_response)
        return None if self._page is None else self._page(environ, start_response)


def register(app: Flask) -> None:
    """Keep `REFUSALS` out of the error log, and from becoming a 500."""
    for refusal in REFUSALS:
        app.register_error_handler(refusal, _refuse)
    unknown = app.handle_exception

    def handle_exception(error: Exception) -> Any:
        """Replace Flask's method, for errors in ``after_request`` functions."""
        if isinstance(error, REFUSALS):
            return _leave_to_middleware(error)
        return unknown(error)

    app.handle_exception = handle_exception  # type: ignore[assignment,method-assign]  # no hook comes before it


def take_failure(environ: WSGIEnvironment) -> SessionError | None:
    """Return the error for which a request was left to the middleware, if any."""
    failure: SessionError | None = environ.pop(_FAILURE_KEY, None)
    return failure


def _refuse(error: Any) -> Any:
    """Handle `REFUSALS` if the application has no handler for this very class."""
    transaction = request.environ.get(TRANSACTION_KEY)
    handler = _handler_of(error, "503")
    if handler is None:
        if transaction is not None:
            transaction.give_up(error)  # for code that runs after it
        return _leave_to_middleware(error)
    if transaction is not None and transaction.fault is not error:
        transaction.request.report(error)
    return handler()


def _leave_to_middleware(error: SessionError) -> Response:
    request.environ[_FAILURE_KEY] = error
    answer = answer_to(error, request.environ)  # seen by `after_request` functions
    return current_app.response_class(answer.body, answer.status, answer.headers)


def _handler_of(error: SessionError, busy: BusyStatus) -> Callable[[], Any] | None:
    """Return the application's own handler for an error, if any."""
    specs = [current_app.error_handler_spec[name] for name in (*request.blueprints, None)]
    for handlers in (spec[None] for spec in specs):
        for cls in _up_to(type(error), SessionError):
            if handlers.get(cls) not in (None, _refuse):
                return partial(current_app.ensure_sync(handlers[cls]), error)
    refusal = refusal_of(error, request.method, busy)
    status = default_exceptions[refusal.code]
    for code in (refusal.code, None):
        for handlers in (spec[code] for spec in specs):
            for cls in _up_to(status, HTTPException):
                if cls in handlers:
                    return partial(current_app.ensure_sync(handlers[cls]), status(refusal.text))
    return None


def _up_to(cls: type[Any], base: type[Any]) -> Iterator[type[Any]]:
    return (each for each in cls.__mro__ if issubclass(each, base))
