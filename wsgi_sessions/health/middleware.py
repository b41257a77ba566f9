"""HealthMiddleware: answers a health and a liveness path, and passes all others on."""

from __future__ import annotations

import hmac
from ipaddress import ip_address
from typing import TYPE_CHECKING

from wsgi_sessions.clock import monotonic
from wsgi_sessions.health.checker import DEFAULT_TIMEOUT, HealthChecker
from wsgi_sessions.health.settings import require_token
from wsgi_sessions.http.answers import plain_answer, send

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from wsgi_sessions.contract import Backend
    from wsgi_sessions.health.settings import HealthDetails
    from wsgi_sessions.http.response import Answer

_OK, _UNAVAILABLE = "200 OK", "503 Service Unavailable"
_FORWARDED_PREFIX = "HTTP_X_FORWARDED"
_FORWARDED = frozenset(
    f"HTTP_{name}"
    for name in (
        *("FORWARDED", "FORWARDED_FOR", "VIA", "X_REAL_IP", "X_CLIENT_IP", "CLIENT_IP"),
        *("X_CLUSTER_CLIENT_IP", "X_ORIGINAL_FORWARDED_FOR", "X_ENVOY_EXTERNAL_ADDRESS"),
        *("CF_CONNECTING_IP", "TRUE_CLIENT_IP", "FASTLY_CLIENT_IP", "FLY_CLIENT_IP"),
        *("X_AZURE_CLIENTIP", "X_APPENGINE_USER_IP", "X_ORIGINAL_HOST", "CDN_LOOP"),
    )
)
"""Headers by which proxies name the client that they speak for; a client can send them too."""


class HealthMiddleware:
    """Answers ``GET /health/session`` with 200 or 503 and JSON, and ``/health/live`` with 200::

        application = HealthMiddleware(application, backend, path="/api/health/session")

    For the checks and their report see `wsgi_sessions.health.checker.check`; no cache may keep the
    answer. Each process makes one probe at a time, and shares its report for a second. Liveness
    says that this worker serves requests, and never touches the store: a worker must not be
    restarted because its store is down. Stands outside of all other middlewares.

    Strangers see ``{"backend": "redis", "healthy": true}``. The details include the free space of
    the store and, in an error, its address.

    A request is from this host if REMOTE_ADDR is a loopback address and no header says that a proxy
    forwarded it. Not promised: recognition of a proxy on this host that sends no such header, or
    whose headers the server drops (as Waitress does without ``trusted_proxy``): use ``"token"``
    there.

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
        details: HealthDetails = "local",
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
        self._details = details
        self._token = None if token is None else token.encode()

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
        if not self._may_see_details(environ):
            del content["details"]
        return plain_answer(_OK if report.healthy else _UNAVAILABLE, content)

    def _may_see_details(self, environ: WSGIEnvironment) -> bool:
        if self._details == "all" or (self._details == "local" and _is_local(environ)):
            return True
        scheme, _, given = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if self._token is None or scheme.lower() != "bearer":
            return False
        # The received bytes (PEP 3333), compared in constant time.
        return hmac.compare_digest(given.strip(" ").encode("latin-1", "replace"), self._token)


def _is_local(environ: WSGIEnvironment) -> bool:
    """Return whether the client is on this host, and is not a proxy."""
    if any(name in _FORWARDED or name.startswith(_FORWARDED_PREFIX) for name in environ):
        return False
    try:
        address = ip_address(environ.get("REMOTE_ADDR", ""))
    except ValueError:
        return False  # as of a socket file, which proxies use
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
