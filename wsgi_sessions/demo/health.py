"""The demonstration's health check: does the session store answer?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from werkzeug.wrappers import Response

from wsgi_sessions import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from wsgi_sessions.stack import Stack

HEALTH_PATH = "/health/session"


class Health:
    """Answers one path with 200 or 503 and JSON, and passes all others on."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """PEP 3333."""
        if environ.get("PATH_INFO") != HEALTH_PATH:
            return self._stack(environ, start_response)
        return self._report()(environ, start_response)

    def _report(self) -> Response:
        backend = self._stack.manager.backend
        details: dict[str, str] = {}
        try:
            backend.sessions.ping()
        except StoreUnavailable as error:
            details["error"] = str(error)
        report = {"backend": backend.name, "healthy": not details, "details": details}
        return json_response(report, 503 if details else 200)


def json_response(value: object, status: int = 200) -> Response:
    """An answer for programs, which no cache may keep."""
    body = json.dumps(value) + "\n"
    headers = {"Cache-Control": "no-store"}
    return Response(body, status, headers, content_type="application/json")
