"""A WSGI response whose headers leave late: PEP 3333 in one place, for the middlewares.

The real `start_response` is called once the first body chunk has been made, at the first
`write()`, or at the end of the body, whichever comes first, and before the application's call
returns to the server. Until then a `Handler` may still change the headers, or put another answer
in place of the application's.

Bodies that servers treat in a special way stay as they are: a list stays a list, and a
``wsgi.file_wrapper`` stays one. Only other iterables are wrapped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from wsgi_sessions import texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from wsgi_sessions.http.headers import Headers

_COMPLETE = (list, tuple)


@texts.shows("status")
class Answer(Struct, frozen=True):
    """A status line and headers; with a `body`, in place of the application's own response."""

    status: str
    headers: Headers
    body: bytes | None = None


class Handler(Protocol):
    """The interface of a middleware to the moments of a response."""

    def finish(self, status: str, headers: Headers) -> Answer | None:
        """Called once, just before the headers leave. None: they may go as they are.

        The passed list is the application's own: it must not be changed.
        """

    def fail(self, error: BaseException) -> Answer | None:
        """Called when the application raised. None: raise it to the server."""

    def exhausted(self) -> None:
        """Called when the body has no further chunk, before the server learns it.

        The server gets what this raises in place of the end. The body is still to be closed.
        Without a `finish` before, there is no response: the application has taken over the
        connection.
        """

    def end(self, *, ran_on: bool) -> None:
        """Called once, after success and failure, when all is over.

        `ran_on`: application code ran, and did not raise, after the headers had left.
        """


@texts.shows()
class LateResponse(Struct, eq=False):
    """The way of one request through an application, with a `Handler` in between."""

    _environ: WSGIEnvironment
    _start: StartResponse
    _handler: Handler
    _status: str | None = None
    _headers: Headers = None  # type: ignore[assignment]  # until there is a `_status`
    _write: Any = None  # the server's, once the headers have left
    _pending: bytes | None = None  # a body in place of the application's
    _ended: bool = False

    def run(self, app: WSGIApplication) -> Iterable[bytes]:
        """Call the application and return the body for the server."""
        body: Any = None
        wrapper = self._environ.get("wsgi.file_wrapper")
        if wrapper is not None and not isinstance(wrapper, (type, _FileWrapper)):
            self._environ["wsgi.file_wrapper"] = _FileWrapper(wrapper)
        try:
            body = app(self._environ, self._start_response)
            if isinstance(body, _COMPLETE) or self._is_file(body):
                return self._whole(body)
            return self._streamed(body)
        except BaseException as error:  # noqa: BLE001  # raised again, or answered by the handler
            try:
                if self._status is None and _is_taken_over(body, error):
                    return self._without_response(body, error)
                return [self.fail(error)]
            finally:
                if hasattr(body, "close"):
                    body.close()

    def send_headers(self) -> bytes | None:
        """Let the headers leave, once. Returns the body to send instead, if there is one."""
        if self._write is None:
            if self._status is None:
                raise _NoResponse("the application did not call start_response")
            if self._ended:
                raise RuntimeError("the response was closed before its headers were sent")
            answer = self._handler.finish(self._status, self._headers)
            if answer is None:
                self._write = self._start(self._status, self._headers)
            else:
                self._send(answer)
        return self._pending

    def fail(self, error: BaseException) -> bytes:
        """Return the body to send for an error of the application; raise it if there is none."""
        answer = self.give_up(error)
        if answer is None or self._write is not None:
            raise error
        self._send(answer)
        return self._pending or b""

    def give_up(self, error: BaseException) -> Answer | None:
        """Tell the handler of an error and of the end; return its answer."""
        try:
            return None if self._ended else self._handler.fail(error)
        finally:
            self.end(ran_on=False)

    def exhausted(self) -> None:
        """Tell the handler that there is no further chunk."""
        if not self._ended:
            self._handler.exhausted()

    def end(self, *, ran_on: bool) -> None:
        """Tell the handler of the end, once."""
        if not self._ended:
            self._ended = True
            self._handler.end(ran_on=ran_on)

    def _start_response(
        self, status: str, headers: Headers, exc_info: Any = None
    ) -> Any:  # the server's write callable
        if self._write is not None:  # too late: the server raises exc_info, or complains
            return self._start(status, headers, exc_info)
        if self._status is not None and exc_info is None:
            raise AssertionError("start_response was called twice without exc_info (PEP 3333)")
        self._status, self._headers = status, headers
        return self._write_late

    def _write_late(self, data: bytes) -> None:
        replaced = self._write is None and self.send_headers() is not None
        if replaced:
            self._write(self._pending)
            self._pending = b""  # sent; nothing else follows
        elif self._pending is None:
            self._write(data)

    def _send(self, answer: Answer) -> None:
        if answer.body is not None:
            self._pending = b"" if self._environ["REQUEST_METHOD"] == "HEAD" else answer.body
        self._write = self._start(answer.status, answer.headers)

    def _whole(self, body: Any) -> Iterable[bytes]:
        """Return a body that is complete, or that the server sends on its own."""
        was_sent = self._write is not None  # by write()
        replacement = self.send_headers()
        self._ended = True
        self._handler.end(ran_on=was_sent)
        if replacement is None:
            return body  # type: ignore[no-any-return]  # what the application gave
        if hasattr(body, "close"):
            body.close()
        return [replacement]

    def _streamed(self, body: Iterable[bytes]) -> Iterable[bytes]:
        """Return a body that is made while it is sent.

        Its first chunk is made here: some servers (Granian) take status and headers when the
        application returns, and would send neither the application's headers nor the cookie.
        """
        chunks = iter(body)
        first = next(chunks, None)
        replacement = self.send_headers()
        if replacement is not None:
            first, chunks = replacement, iter(())
        return Body(self, body, first, chunks)

    def _without_response(self, body: Any, error: BaseException) -> Iterable[bytes]:
        """End without a response: the application spoke to the client, and the server knows."""
        try:
            self.exhausted()
        finally:
            self.end(ran_on=False)
        if body is None:
            raise error
        return body  # type: ignore[no-any-return]  # what the application gave

    def _is_file(self, body: object) -> bool:
        wrapper = self._environ.get("wsgi.file_wrapper")
        if isinstance(wrapper, _FileWrapper):
            return body is wrapper.wrapped
        return isinstance(wrapper, type) and isinstance(body, wrapper)


def _is_taken_over(body: object, error: BaseException) -> bool:
    """Return whether an application without start_response took over the connection.

    WebSocket libraries raise StopIteration (gunicorn) or return an empty body (gevent, eventlet,
    uWSGI).
    """
    if body is None:
        return isinstance(error, StopIteration)
    return isinstance(error, _NoResponse) and not body


class _NoResponse(RuntimeError):
    """The application returned a body without a status."""


class _FileWrapper:
    """A stand-in for a ``wsgi.file_wrapper`` that is a function; `wrapped` is its last result.

    uWSGI's gives back the file itself, and sends it by the kernel if the application returns that
    very object.
    """

    __slots__ = ("_wrap", "wrapped")

    def __init__(self, wrap: Callable[..., Any]) -> None:
        self._wrap = wrap
        self.wrapped: object = self  # no body: nothing was wrapped yet

    def __call__(self, *args: Any) -> Any:
        self.wrapped = self._wrap(*args)
        return self.wrapped


class Body:
    """A body that is made while it is sent: its `first` chunk, and the rest from `chunks`.

    Closing it closes the application's own `body`. It always has a `close` (Granian needs one).
    """

    __slots__ = ("_body", "_chunks", "_first", "_response")

    def __init__(
        self,
        response: LateResponse,
        body: Iterable[bytes],
        first: bytes | None,
        chunks: Iterator[bytes],
    ) -> None:
        self._response = response
        self._body = body
        self._first = first
        self._chunks = chunks

    def __iter__(self) -> Body:
        return self

    def __next__(self) -> bytes:
        chunk, self._first = self._first, None
        if chunk is not None:
            return chunk
        try:
            return next(self._chunks)
        except StopIteration:
            self._response.exhausted()
            raise
        except BaseException as error:
            self._chunks = iter(())
            self._response.give_up(error)
            raise

    def close(self) -> None:
        """Close the application's body, then end the transaction, even if the former raises."""
        try:
            if hasattr(self._body, "close"):
                self._body.close()
        except BaseException as error:
            self._response.give_up(error)
            raise
        self._response.end(ran_on=True)
