"""What each WSGI server is tried with: `application` answers in every way that PEP 3333 knows."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import race_app

from wsgi_sessions import Session, from_env, get_session

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

FILE = "MATRIX_APP_FILE"
_TEXT = [("Content-Type", "text/plain")]


def late_stream(session: Session) -> Iterator[bytes]:
    """Change the session before the first chunk, and again before the last."""
    session["before the first chunk"] = True
    yield b"first\n"
    session["before the last chunk"] = True
    yield b"last\n"


def failing_stream(session: Session) -> Iterator[bytes]:
    """Fail in the middle."""
    yield b"first\n"
    session["changed by a failure"] = True
    raise RuntimeError("planned: a stream that fails")


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """The application without sessions of its own; other paths are those of `race_app`."""
    path = environ["PATH_INFO"]
    if path in race_app.ROUTES:
        return race_app.app(environ, start_response)
    session = get_session(environ)
    if path == "/raise":
        session["changed by a failure"] = True
        raise RuntimeError("planned: a view that fails")
    if path == "/500":
        session["changed by a failure"] = True
        start_response("500 Internal Server Error", _TEXT)
        return [b"failed\n"]
    if path == "/set":
        session.update(parse_qsl(environ["QUERY_STRING"]))
    if path == "/keep-alive":
        session.keep_alive()
    if path == "/write":
        write = start_response("200 OK", _TEXT)
        session["before write"] = "lost: the headers have left" if session.new else True
        write(b"by write, ")
        return [b"and by return\n"]
    if path == "/file":
        session["sent a file"] = True
        size = os.path.getsize(os.environ[FILE])
        start_response("200 OK", [*_TEXT, ("Content-Length", str(size))])
        body = open(os.environ[FILE], "rb")  # noqa: SIM115  # the server closes it
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](body, 65536)
        return wrapped
    start_response("200 OK", _TEXT)
    if path == "/late-stream":
        return late_stream(session)
    if path == "/failing-stream":
        return failing_stream(session)
    return [b"ok\n"]


def refresh(session: Session) -> None:
    """Count the refreshes."""
    session.increment("refreshes")


def create() -> object:
    """Wrap the application as its environment says."""
    return from_env(app, on_event=race_app.record, refresh=refresh)


application = create() if race_app.EVENTS in os.environ else None
