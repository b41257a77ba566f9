"""HealthMiddleware: answers a health and a liveness path, and passes all others on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from wsgi_sessions.health import DEFAULT_TIMEOUT, HealthChecker

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from wsgi_sessions.stores.base import Backend

_OK, _UNAVAILABLE = "200 OK", "503 Service Unavailable"


class HealthMiddleware:
    """Answers ``GET /health/session`` with 200 or 503 and JSON, and ``/health/live`` with 200::

        application = HealthMiddleware(application, backend, path="/api/health/session")

    For what is checked and told see `wsgi_sessions.health.check`; the answer takes `timeout`
    seconds at most, and no cache may keep it. Liveness tells that this worker serves requests, and
    never touches the store: a worker must not be restarted because its store is down. A path of
    None is not answered. Stands outside of all other middlewares.

    Not promised: that strangers may see it. Details name the kind of store, the room on it and, in
    an error, its address: let a proxy keep the path to those who watch.
    """

    def __init__(
        self,
        app: WSGIApplication,
        backend: Backend,
        *,
        path: str | None = "/health/session",
        liveness: str | None = "/health/live",
        timeout: float = DEFAULT_TIMEOUT,
        fingerprints: Sequence[str] = (),
    ) -> None:
        self._app = app
        self._liveness = liveness
        self._paths = {path, liveness} - {None}
        self._checker = HealthChecker(backend, timeout=timeout, fingerprints=fingerprints)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """PEP 3333."""
        path = environ.get("PATH_INFO") or "/"
        if path not in self._paths:
            return self._app(environ, start_response)
        method = environ["REQUEST_METHOD"]
        if method not in ("GET", "HEAD"):
            return _answer(
                "405 Method Not Allowed",
                {"error": "only GET and HEAD"},
                method,
                start_response,
                ("Allow", "GET, HEAD"),
            )
        if path == self._liveness:
            return _answer(_OK, {"alive": True}, method, start_response)
        report = self._checker.check()
        status = _OK if report.healthy else _UNAVAILABLE
        return _answer(status, report.as_dict(), method, start_response)


def _answer(
    status: str,
    content: dict[str, Any],
    method: str,
    start_response: StartResponse,
    *more: tuple[str, str],
) -> Iterable[bytes]:
    body = (json.dumps(content) + "\n").encode()
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        *more,
    ]
    start_response(status, headers)
    return [] if method == "HEAD" else [body]
