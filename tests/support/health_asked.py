"""The health middleware, asked."""

from __future__ import annotations

from typing import Any
from wsgiref.validate import validator

from wsgi_client import Response, call, environ_of

PATH, LIVE = "/health/session", "/health/live"


def never_called(environ: Any, start_response: Any) -> Any:
    raise AssertionError(f"{environ['PATH_INFO']} came through")


def ask(app: Any, path: str, method: str = "GET", **more: Any) -> Response:
    """As this host itself, if nothing else is given."""
    more = {"REMOTE_ADDR": "127.0.0.1", "QUERY_STRING": "", **more}
    return call(validator(app), environ_of(path, method, **more))
