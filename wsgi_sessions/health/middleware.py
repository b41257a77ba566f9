"""HealthMiddleware: answers a health and a liveness path, and passes all others on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.clock import monotonic
from wsgi_sessions.health.checker import DEFAULT_TIMEOUT, HealthChecker
from wsgi_sessions.health.settings import require_token
from wsgi_sessions.http.answers import plain_answer, send
from wsgi_sessions.http.readers import Readers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from wsgi_sessions.contract import Backend
    from wsgi_sessions.http.readers import Audience
    from wsgi_sessions.http.response import Answer

_OK, _UNAVAILABLE = "200 OK", "503 Service Unavailable"


class HealthMiddleware:
    """Answers ``GET /health/session`` with 200 or 503 and JSON, and ``/health/live`` with 200::

        application = HealthMiddleware(application, backend, path="/api/health/session")

    For the checks and their report see `wsgi_sessions.health.checker.check`; no cache may keep the
    answer. Each process makes one probe at a time, and shares its report for a second. Liveness
    says that this worker serves requests, and never touches the store: a worker must not be
    restarted because its store is down. Stands outside of all other middlewares.

    Strangers see ``{"backend": "redis", "healthy": true}``. The details include the free space of
    the store, in an error its address, and the request's ``scheme`` as the worker sees it.

    For "this host" see `Readers`: where a proxy on it cannot be recognized, use ``"token"``.

    Args:
        path, liveness: the paths to answer; None for none.
        fingerprints, place: shown in the details.
        timeout: the most seconds for an answer.
        details: the requests that get them: "local", from this host itself or with the token;
            "token", with the token alone, sent as ``Authorization: Bearer …``; "all".
        token: for ``details``.

    Raises:
        ConfigurationError: ``"token"`` without a token.
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
        place: str = "",
        details: Audience = "local",
        token: str | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        require_token(details, token)
        self.app = app
        self._liveness = liveness
        self._paths = {path, liveness} - {None}
        self._checker = HealthChecker(
            backend, timeout=timeout, fingerprints=fingerprints, place=place, clock=clock
        )
        self._readers = Readers(details, token)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """PEP 3333."""
        path = environ.get("PATH_INFO") or "/"
        if path not in self._paths:
            return self.app(environ, start_response)
        method = environ["REQUEST_METHOD"]
        return send(self._answer(path, method, environ), method, start_response)

    def _answer(self, path: str, method: str, environ: WSGIEnvironment) -> Answer:
        if method not in ("GET", "HEAD"):
            error = {"error": "only GET and HEAD"}
            return plain_answer("405 Method Not Allowed", error, ("Allow", "GET, HEAD"))
        if path == self._liveness:
            return plain_answer(_OK, {"alive": True})
        report = self._checker.check()
        content = report.as_dict()
        if self._readers.include(environ):
            content["details"]["scheme"] = environ["wsgi.url_scheme"]
        else:
            del content["details"]
        return plain_answer(_OK if report.healthy else _UNAVAILABLE, content)
