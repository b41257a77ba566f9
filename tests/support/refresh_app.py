"""The application of the tests of leases and refreshing, and the hook that refreshes it.

``/work`` keeps its session in use for as long as it is told, as a stream or at a gate of
`race_app`. The hook notes each call in a file that all processes share, and who it met there.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import race_app
from race_app import Call
from wsgi_client import call, environ_of

from wsgi_sessions import from_env, get_session

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from wsgi_sessions import Session

CALLS = "REFRESH_APP_CALLS"


def refresh(session: Session) -> None:
    """The hook: counts, and takes a moment."""
    begun = time.time()
    time.sleep(float(os.environ.get("REFRESH_APP_SECONDS", "0.02")))
    session.increment("refreshed")
    note({"name": session["name"], "begun": begun, "ended": time.time(), "pid": os.getpid()})


def note(fact: dict[str, Any]) -> None:
    """Append a line to the file of calls: one write each."""
    fd = os.open(os.environ[CALLS], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(fd, f"{json.dumps(fact)}\n".encode())
    finally:
        os.close(fd)


def start(page: Call) -> dict[str, Any]:
    """A session that is kept alive."""
    page.session.update({"name": page.query["name"], "visits": 0})
    page.session.keep_alive()
    return {}


def work(page: Call) -> dict[str, Any]:
    """Read, be under way, change."""
    seen = page.session["visits"]
    note({"working": os.getpid()})
    page.linger()
    page.session["mine"] = page.query.get("item", "")
    page.session.increment("visits")
    return {"seen": seen, "pid": os.getpid()}


def show(page: Call) -> dict[str, Any]:
    """What the session holds."""
    return {**page.session, "expires_at": page.session.expires_at}


def none(_: Call) -> dict[str, Any]:
    """Leave the session alone."""
    return {}


ROUTES = {"/start": start, "/work": work, "/show": show, "/none": none}


def stream(page: Call) -> Iterator[bytes]:
    """Chunks, for as long as the client takes them."""
    yield f"{page.session['name']}\n".encode()
    while True:
        time.sleep(0.01)
        yield b"x" * 65536
        if page.query.get("raise"):
            raise ZeroDivisionError("in the middle of a stream")


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """The WSGI application, without sessions of its own."""
    if environ["PATH_INFO"] == "/stream":
        get_session(environ)["streaming"] = True
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return stream(Call(environ))
    body = json.dumps(ROUTES[environ["PATH_INFO"]](Call(environ))).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]


def create() -> WSGIApplication:
    """What gunicorn calls in each worker: its refresher runs from the start."""
    application = from_env(app, on_event=race_app.record)
    call(application, environ_of("/none"))
    return application
