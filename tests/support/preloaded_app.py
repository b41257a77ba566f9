"""`race_app`, loaded before the workers are forked, while a thread that answers a request is just
starting what runs in the background: it has locked whatever it locks for that."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import race_app
from wsgi_client import call, environ_of

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def create() -> WSGIApplication:
    """What gunicorn loads."""
    application, master = race_app.create(), os.getpid()
    start, stopped = threading.Thread.start, threading.Event()

    def stop_at(self: threading.Thread) -> None:
        if os.getpid() == master and self.name.startswith("wsgi_sessions"):
            stopped.set()
            threading.Event().wait()
        start(self)

    threading.Thread.start = stop_at  # type: ignore[method-assign]
    first = threading.Thread(target=lambda: call(application, environ_of("/start")), daemon=True)
    first.start()
    if not stopped.wait(10):
        raise AssertionError("no request has started anything")
    return application
