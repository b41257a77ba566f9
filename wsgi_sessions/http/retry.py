"""Requests that are run again where their changes conflict with those of another request."""

from __future__ import annotations

import io
from copy import copy
from functools import partial
from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.core.merge.conflict import RunAgain
from wsgi_sessions.core.source import Phase
from wsgi_sessions.http.exchange import SessionExchange
from wsgi_sessions.http.path_patterns import PathPatterns
from wsgi_sessions.http.request_body import body_of
from wsgi_sessions.http.response import LateResponse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from wsgi_sessions.core.merge.conflict import Conflict
    from wsgi_sessions.core.transaction import Transaction
    from wsgi_sessions.http.headers import Headers
    from wsgi_sessions.http.middleware import SessionMiddleware
    from wsgi_sessions.http.response import Answer

DEFAULT_MAX_BODY = 64 * 1024
BESIDE, ALONE = 4, 4
"""The most calls for one request: beside others, and then as on an exclusive path."""
_EVERY_PATH = PathPatterns(["/*"])


class RetryMiddleware:
    """Runs requests on some paths again where a commit would conflict::

        sessions = SessionMiddleware(application, manager, cookie)
        application = RetryMiddleware(sessions, paths=["/orders/*"])

    The application is called again with the same environ and body, and the session as it is stored
    by then: at most three times beside other requests, then as on an exclusive path, where only
    requests that do not wait for their turn can still be faster. After four such calls a conflict
    is treated as on any other path. Nothing has been sent or stored before: the first commit of the
    request has met the conflict. Through the application goes `RunAgain`, a BaseException: what it
    holds open (a database transaction) is rolled back.

    Conflicts of later commits are treated as on any other path: after an exclusive block or
    `Session.commit` has stored something, and after the headers have left. So are requests with a
    body of more than `max_body` bytes, which is kept in memory, or without a length.

    It calls the application several times: other effects of a call must be undone by the exception,
    or do no harm when repeated.

    Args:
        sessions: the middleware of the sessions; this one takes its place.
        paths: `PathPatterns` of the requests.
        max_body: bytes.
    """

    def __init__(
        self,
        sessions: SessionMiddleware,
        *,
        paths: Sequence[str],
        max_body: int = DEFAULT_MAX_BODY,
    ) -> None:
        self._sessions = sessions
        self._paths = PathPatterns(paths)
        self._max_body = max_body

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """PEP 3333."""
        path = environ.get("PATH_INFO", "")
        if not self._paths.match(path, environ.get("SCRIPT_NAME", "") + path):
            return self._sessions(environ, start_response)
        body = body_of(environ, self._max_body)
        if body is None:
            return self._sessions(environ, start_response)
        begun, sessions = dict(environ), self._sessions
        for attempt in range(1, BESIDE + ALONE):
            exchange = SessionExchange(sessions, environ)
            try:
                return LateResponse(environ, start_response, _Trial(exchange)).run(sessions.app)
            except RunAgain as again:
                self._report(again, exchange.route(), attempt)
            _begin_again(environ, begun, body)
            if attempt == BESIDE:
                sessions = copy(sessions)  # not kept: the cookie may be changed
                sessions.exclusive_paths = _EVERY_PATH
        return sessions(environ, start_response)

    def _report(self, again: RunAgain, route: str, attempt: int) -> None:
        for key in dict.fromkeys(conflict.key for conflict in again.conflicts):
            self._sessions.manager.events.emit(
                "run-again", path=texts.named(key), route=route, attempt=attempt
            )


def _begin_again(environ: WSGIEnvironment, begun: WSGIEnvironment, body: bytes) -> None:
    """Make the environ what it was: the same object, as outer middlewares may hold it."""
    environ.clear()
    environ.update(begun)
    environ["wsgi.input"] = io.BytesIO(body)


class _Trial:
    """The `Handler` of a request that may be run again: its exchange, except for `RunAgain`."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: SessionExchange) -> None:
        self._exchange = exchange
        transaction = exchange.transaction
        transaction.manager = transaction.manager.asking(partial(_run_again, transaction))

    def finish(self, status: str, headers: Headers) -> Answer | None:
        return self._exchange.finish(status, headers)

    def fail(self, error: BaseException) -> Answer | None:
        if isinstance(error, RunAgain):
            return None  # nothing is dropped: it comes again
        return self._exchange.fail(error)

    def exhausted(self) -> None:
        self._exchange.exhausted()

    def end(self, *, ran_on: bool) -> None:
        self._exchange.end(ran_on=ran_on)


def _run_again(transaction: Transaction, conflicts: list[Conflict]) -> None:
    """Raise `RunAgain` if nothing was stored or sent: conflicts are then as on any other path."""
    if transaction.did == "unchanged" and transaction.phase is Phase.OPEN:
        raise RunAgain(conflicts)
