"""An application whose workers tell which of several stores they use."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

from wsgi_sessions import from_env

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

HOLD_SECONDS = 0.01


def create() -> WSGIApplication:
    """The application; its store is chosen here."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        time.sleep(HOLD_SECONDS)  # so that of several requests at once each worker gets one
        start_response("200 OK", [("Content-Type", "application/json")])
        found = {"pid": os.getpid(), "backend": stack.manager.backend.name}
        return [json.dumps(found).encode()]

    stack = from_env(app)
    return stack
