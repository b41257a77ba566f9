"""Early cookies: a visitor without a session gets one with the page, before its scripts ask.

Without it, a page whose scripts send several first requests at once makes a session with each that
stores something, and the browser keeps one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.core.draft import EARLY
from wsgi_sessions.errors import CorruptRecord, StoreUnavailable
from wsgi_sessions.http.cookies.scope import covers_host, covers_path
from wsgi_sessions.http.page_load import is_page_load

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from wsgi_sessions.core.transaction import Transaction
    from wsgi_sessions.http.cookies.session_cookie import CookiePolicy, SessionCookie


def begin_early(
    transaction: Transaction, environ: WSGIEnvironment, cookie: SessionCookie, header: str | None
) -> bool:
    """Begin a session with the page if the visitor has none, and the page has begun none.

    Returns whether it did; the commit stores it. Never raises for a fault of the store.
    """
    if not may_have_one(environ, cookie.policy):
        return False
    if not transaction.is_accessed and cookie.read(header).state not in ("absent", "invalid"):
        return False  # not looked up for this: most probably it is alive
    try:
        draft = transaction.draft()
    except (StoreUnavailable, CorruptRecord):
        return False
    if draft.snapshot is not None or draft.superseded or draft.is_changed():
        return False
    draft.set_metadata(EARLY, True)  # noqa: FBT003  # a metadata value
    return True


def may_have_one(environ: WSGIEnvironment, policy: CookiePolicy) -> bool:
    """Return whether a page is loaded that would have brought a cookie, if there were one.

    Where a browser holds the cookie back, a new one would replace the visitor's session. It does so
    for another path or host, from another site, in a frame, or always with ``SameSite=Strict``.
    """
    if environ.get("REQUEST_METHOD") != "GET" or not is_page_load(environ):
        return False
    return _comes_back(environ, policy) and not _is_held_back(environ, policy)


def _comes_back(environ: WSGIEnvironment, policy: CookiePolicy) -> bool:
    scheme = environ.get("wsgi.url_scheme", "http")
    if policy.is_secure(scheme) and scheme != "https":
        return False
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    return covers_path(policy, path) and covers_host(policy, environ.get("HTTP_HOST", ""))


def _is_held_back(environ: WSGIEnvironment, policy: CookiePolicy) -> bool:
    site = environ.get("HTTP_SEC_FETCH_SITE")
    if policy.samesite == "Strict":
        return site in (None, "cross-site")  # browsers do not say it over plain http
    framed = environ.get("HTTP_SEC_FETCH_DEST", "document") != "document"
    return framed and site == "cross-site"
