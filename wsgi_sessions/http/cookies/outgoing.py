"""The session's cookie in a response."""

from __future__ import annotations

from datetime import datetime
from math import ceil, inf
from typing import TYPE_CHECKING

from wsgi_sessions.core.commit.results import ID_CHANGES
from wsgi_sessions.core.draft import LIFETIME
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.http.cookies.session_cookie import MAX_AGE_LIMIT
from wsgi_sessions.http.cookies.twins import deletions_above

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed.wsgi import WSGIEnvironment

    from wsgi_sessions.core.commit.results import Result
    from wsgi_sessions.core.draft import Snapshot
    from wsgi_sessions.core.transaction import Transaction
    from wsgi_sessions.http.cookies.session_cookie import PresentedCookie, SessionCookie
    from wsgi_sessions.http.cookies.twins import Twins


def cookie_is_due(
    transaction: Transaction,
    presented: PresentedCookie | None,
    result: Result,
    before: Snapshot | None,
) -> bool:
    """Return whether the session is new, renewed or deleted, or its cookie is to be rewritten."""
    if transaction.renewal == "always":
        return True
    if presented is not None and presented.state in ("renew", "foreign"):
        return True  # signed by an older secret, or another library's
    if result == "unchanged":
        return is_dead(transaction, presented)
    if result in ID_CHANGES:
        return True
    return may_move(before, transaction.snapshot)


def may_move(before: Snapshot | None, after: Snapshot | None) -> bool:
    """Return whether the session has, or had, a lifetime of its own: its cookie moves with use."""
    return (before is not None and LIFETIME in before.envelope.metadata) or (
        after is not None and LIFETIME in after.envelope.metadata
    )


def is_dead(transaction: Transaction, presented: PresentedCookie | None) -> bool:
    """Return whether the cookie of the request led to no session when the request came.

    The session was looked up, and there was none. False if a log-in has replaced it, or if it ended
    during the request: the browser may have another cookie by now.
    """
    return (
        presented is not None
        and presented.state in ("valid", "renew")
        and transaction.is_accessed
        and transaction.found_none
        and transaction.snapshot is None
        and not (transaction.is_superseded or transaction.is_withheld or transaction.has_failed)
    )


class OutgoingCookie:
    """The cookie of a session after its commit.

    `warn_of_http` is called before a cookie goes out without Secure.
    """

    __slots__ = ("_cookie", "_environ", "_presented", "_transaction", "_twins", "_warn_of_http")

    def __init__(
        self,
        cookie: SessionCookie,
        transaction: Transaction,
        presented: PresentedCookie | None,
        twins: Twins | None,
        environ: WSGIEnvironment,
        warn_of_http: Callable[[], object],
    ) -> None:
        self._cookie = cookie
        self._transaction = transaction
        self._presented = presented
        self._twins = twins
        self._environ = environ
        self._warn_of_http = warn_of_http

    def values(self, result: Result, *, is_due: bool, lies_deep: bool) -> list[str]:
        """Return the Set-Cookie values, dead twins first: no deletion removes the session's.

        `is_due` is the answer of `cookie_is_due`. `lies_deep`: there was a session, and its cookie
        may have come from a path above the policy's.
        """
        twins = self._twins
        if twins is not None:
            if not twins.is_settled and result not in ID_CHANGES:
                return []
            deletions = self._deletions(twins, result)
        elif lies_deep and result in ID_CHANGES:
            scheme = self._environ.get("wsgi.url_scheme", "http")
            deletions = deletions_above(self._cookie.policy, scheme=scheme)
        else:
            deletions = []
        if not deletions and not is_due:
            return []
        snapshot = self._transaction.snapshot
        if snapshot is not None and not self._may_renew(result):
            return []
        cookie = self._own(result)
        if cookie is not None:
            return [*deletions, cookie]
        return deletions if snapshot is None else []

    def _deletions(self, twins: Twins, result: Result) -> list[str]:
        if self._transaction.is_superseded or result == "gone" or not twins.is_settled:
            return []  # the browser has, or is about to get, other cookies
        environ = self._environ
        return twins.deletions(
            self._cookie.policy,
            scheme=environ.get("wsgi.url_scheme", "http"),
            host=environ.get("HTTP_HOST") or environ.get("SERVER_NAME", ""),
            path=environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""),
            all_of_them=result == "destroyed",
        )

    def _may_renew(self, result: Result) -> bool:
        """Return whether a cookie may be written after this commit.

        A request that only read does not know whether its session is still there. It must not write
        back an id that a log-in has replaced in between: so it asks the store, and does not renew
        if in doubt.
        """
        if result not in ("unchanged", "touched"):
            return True
        try:
            return self._transaction.is_alive()
        except StoreUnavailable:
            return False

    def _own(self, result: Result) -> str | None:
        """Return the Set-Cookie value for the session as it is now; None: none is needed."""
        # The present scheme: a ProxyFix may stand between this middleware and the application.
        scheme = self._environ.get("wsgi.url_scheme", "http")
        cookie, snapshot = self._cookie, self._transaction.snapshot
        if result == "unchanged" and is_dead(self._transaction, self._presented):
            return cookie.delete(scheme=scheme)
        if result == "destroyed":
            presented = self._presented
            sent_one = presented is not None and presented.state != "absent"
            return cookie.delete(scheme=scheme) if sent_one else None
        if snapshot is None or not snapshot.session_id:
            return None  # nothing, or a session whose new id another request sends
        if not cookie.policy.is_secure(scheme):
            self._warn_of_http()
        asked = _asked_lifetime(snapshot)
        if asked is None:
            return cookie.write(snapshot.session_id, scheme=scheme, max_age=None)
        now = self._transaction.manager.now()
        until = min(snapshot.expires_at, now + MAX_AGE_LIMIT)
        # Rounded up by less than a second, so that the header has the number that was asked for.
        max_age = max(ceil(min(until - now, asked)), 0)
        return cookie.write(snapshot.session_id, scheme=scheme, max_age=max_age, expires=until)


def _asked_lifetime(snapshot: Snapshot | None) -> float | None:
    """Return the cookie's lifetime in seconds by `Session.remember`, or None.

    Without limit if the session has a fixed end: it expires then.
    """
    asked = None if snapshot is None else snapshot.envelope.get_metadata(LIFETIME)
    if asked is None:
        return None
    return inf if isinstance(asked, datetime) else float(asked)
