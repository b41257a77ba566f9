"""The tween that begins and commits the session of each request to a Pyramid application."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from wsgi_sessions.core.source import Phase
from wsgi_sessions.http.environ import TRANSACTION_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_sessions.core.transaction import Transaction
    from wsgi_sessions.http.exchange import SessionExchange
    from wsgi_sessions.http.response import Answer
    from wsgi_sessions.stack.build import Stack

_ATTEMPT = "another attempt follows"


class SessionTween:
    """Runs the request inside of its session, unless a middleware around Pyramid has begun one."""

    def __init__(self, handler: Any, stack: Callable[[], Stack]) -> None:
        self._handler = handler
        self._stack = stack

    def __call__(self, request: Any) -> Any:
        """Called by Pyramid."""
        begun: Transaction | None = request.environ.get(TRANSACTION_KEY)
        if begun is not None and begun.phase is not Phase.ENDED:
            return self._handler(request)
        exchange = self._stack().sessions.open(request.environ)
        try:
            response = self._handler(request)
        except BaseException as error:
            try:
                answer = exchange.fail(error)
            finally:
                exchange.end(ran_on=False)
            if answer is None:
                raise
            return _put(request.response, answer)
        if _is_tried_again(request):
            exchange.transaction.roll_back(_ATTEMPT)
            exchange.end(ran_on=False)
            return response
        return _finish(exchange, request, response)

    def begin_without_tweens(self, request: Any) -> Transaction:
        """Begin the session of a request that passes no tween: a subrequest, or a script's.

        It is committed into its response; one that gets none stores nothing.
        """
        exchange = self._stack().sessions.open(request.environ)
        transaction = exchange.transaction
        request.add_response_callback(lambda _, response: _finish(exchange, request, response))
        request.add_finished_callback(lambda _: transaction.close())
        return transaction


def _finish(exchange: SessionExchange, request: Any, response: Any) -> Any:
    """Commit into a response, whose body may change the session until its end."""
    answer = exchange.finish(response.status, response.headerlist)
    if answer is not None:
        response = _put(response, answer)
    if _is_whole(response.app_iter, request):
        exchange.end(ran_on=False)
    else:
        response.app_iter = _Body(response.app_iter, exchange)
    return response


def _is_whole(body: Any, request: Any) -> bool:
    """Whether no code of the application runs while a body is sent: a list, or an open file."""
    wrapper = request.environ.get("wsgi.file_wrapper")
    if isinstance(wrapper, type) and isinstance(body, wrapper):
        return True
    return isinstance(body, (list, tuple, import_module("pyramid.response").FileIter))


def _put(response: Any, answer: Answer) -> Any:
    """Have a response say what an answer does."""
    response.status, response.headerlist = answer.status, list(answer.headers)
    if answer.body is not None:
        response.app_iter = [answer.body]
    return response


def _is_tried_again(request: Any) -> bool:
    """Whether an exception view has answered in an attempt that ``pyramid_retry`` repeats."""
    error = getattr(request, "exception", None)
    if error is None or "pyramid_retry" not in sys.modules:
        return False
    return bool(import_module("pyramid_retry").is_error_retryable(request, error))


class _Body:
    """A body that is made while it is sent; the session is committed again at its end."""

    def __init__(self, body: Any, exchange: SessionExchange) -> None:
        self._body = body
        self._chunks = iter(body)
        self._exchange: SessionExchange | None = exchange

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._chunks)  # type: ignore[no-any-return]  # Pyramid has no annotations
        except StopIteration:
            if self._exchange is not None:
                self._exchange.exhausted()
            raise
        except BaseException as error:
            exchange, self._exchange = self._exchange, None
            if exchange is not None:
                exchange.fail(error)
                exchange.end(ran_on=False)
            raise

    def close(self) -> None:
        """Called by the server."""
        exchange, self._exchange = self._exchange, None
        try:
            if hasattr(self._body, "close"):
                self._body.close()
        finally:
            if exchange is not None:
                exchange.end(ran_on=True)
