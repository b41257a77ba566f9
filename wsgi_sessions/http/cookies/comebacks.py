"""Do the cookies of new sessions come back? If none does, a warning says why."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from wsgi_sessions.http.cookies.session_cookie import CookiePolicy

ENOUGH = 50
"""New sessions of a process without a single returned cookie, before that is reported."""
_SECURE = (
    "the cookie has Secure, and the requests come over plain http, where browsers refuse it: "
    "serve https, or pass the scheme on (werkzeug's ProxyFix) if a proxy ends TLS"
)
_FRAMED = (
    "the pages are in a frame of another site, where browsers send no SameSite cookie, or none "
    "at all: set `cookie.samesite=None` and `cookie.partitioned=True`"
)
_UNKNOWN = (
    "do the clients keep cookies? Crawlers and scripts do not; a proxy may take Set-Cookie or "
    "Cookie off; a browser refuses a Domain or Path that does not fit the address it has"
)


class Comebacks:
    """A count, per process, of new sessions until a cookie of ours comes back.

    Threads may count at once; a missed one does no harm.
    """

    def __init__(self) -> None:
        self._begun = 0
        self.is_settled = False  # one came back, or the warning was given

    def came(self) -> None:
        """Note that a request brought a cookie of ours."""
        self.is_settled = True

    def reason_for_none(self, environ: WSGIEnvironment, policy: CookiePolicy) -> str | None:
        """Note a new session. Returns once, when there are enough, why none came back.

        The reason is taken from this request.
        """
        self._begun += 1
        if self._begun < ENOUGH or self.is_settled:
            return None
        self.is_settled = True
        scheme = environ.get("wsgi.url_scheme", "http")
        if scheme != "https" and policy.is_secure(scheme):
            return _SECURE
        framed = environ.get("HTTP_SEC_FETCH_DEST") in ("iframe", "frame")
        if framed and environ.get("HTTP_SEC_FETCH_SITE") == "cross-site":
            return _FRAMED
        return _UNKNOWN
