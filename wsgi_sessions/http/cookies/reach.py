"""The reach of a cookie: would the next request like this one find a session begun here?

The cookie goes to the paths and hosts of its policy alone. A page outside of them is requested
without the user's cookie: a session that it began would replace the user's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.core.draft import OutOfReach
from wsgi_sessions.http.cookies.scope import covers_host, covers_path, is_public

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from wsgi_sessions.http.cookies.session_cookie import CookiePolicy

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""With these methods, a browser sends a SameSite=Lax cookie from another site too."""
_PATH = (
    "the request is outside of the cookie's path, so the browser sent no cookie, and a new "
    "one would replace the user's: begin the session below that path, or set "
    "`cookie.path=/`; behind a proxy that takes a prefix off the path, pass it on as "
    "SCRIPT_NAME, or in X-Forwarded-Prefix"
)
_ELSEWHERE = (
    "another site sent this form: browsers send no SameSite cookie with it, and a new one would "
    "replace the user's. Answer with a redirect (303) to a page of your own, which is requested "
    "with the cookie; log in, or call cycle_id(), to begin a session here nevertheless"
)
_DOMAIN = (
    "the request's host is outside of the cookie's domain, so no browser would take the "
    "cookie: correct `cookie.domain`, or have the proxy pass the Host on"
)


def why_out_of_reach(
    environ: WSGIEnvironment, policy: CookiePolicy, path: str
) -> OutOfReach | None:
    """Return why the cookie of a session that begins here would not come back, or was held back.

    None if it may begin. `path` is the request's first PATH_INFO. A proxy may have changed path and
    host: its headers count too, and a host that does not exist on the internet tells nothing.
    """
    if policy.path != "/":
        root, now = environ.get("SCRIPT_NAME", ""), environ.get("PATH_INFO", "")
        prefix = environ.get("HTTP_X_FORWARDED_PREFIX", "").partition(",")[0].strip().rstrip("/")
        names = {root + now, root + path, path, f"{prefix}{root}{now}", f"{prefix}{now}"}
        if not any(covers_path(policy, name) for name in names):
            return OutOfReach(_PATH)
    if policy.domain is not None:
        forwarded = environ.get("HTTP_X_FORWARDED_HOST", "").split(",")
        hosts = [environ.get("HTTP_HOST", ""), *forwarded]
        if is_public(hosts[0]) and not any(covers_host(policy, host) for host in hosts):
            return OutOfReach(_DOMAIN)
    if policy.samesite != "None" and _is_form_of_another_site(environ):
        return OutOfReach(_ELSEWHERE, unless_asked=True)
    return None


def _is_form_of_another_site(environ: WSGIEnvironment) -> bool:
    """Return whether another site sent the browser here by more than a link.

    A bank or an identity provider sends users back so. (Fetch Metadata; browsers omit it over plain
    http.)
    """
    return (
        environ.get("HTTP_SEC_FETCH_SITE") == "cross-site"
        and environ.get("HTTP_SEC_FETCH_MODE") == "navigate"
        and environ.get("REQUEST_METHOD") not in SAFE_METHODS
    )
