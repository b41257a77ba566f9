"""Log-in cookies of the application, by which it remembers a user, such as Flask-Login's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.core.record.tombstones import Tombstone
from wsgi_sessions.errors import CorruptRecord, StoreUnavailable
from wsgi_sessions.http.headers import without_cookie

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wsgi_sessions.core.commit.results import Result
    from wsgi_sessions.core.transaction import Transaction
    from wsgi_sessions.http.headers import Headers


def without_login_cookies(
    headers: Headers, names: Sequence[str], transaction: Transaction, result: Result
) -> Headers:
    """Return the headers without these cookies, if a log-in has superseded the request."""
    for name in names:
        kept = without_cookie(headers, name)
        if len(kept) < len(headers) and _is_superseded(transaction, result):
            headers = kept
    return headers


def _is_superseded(transaction: Transaction, result: Result) -> bool:
    """Return whether a log-in has replaced the session.

    A request that stored nothing has to ask the store. If that does not answer, the request's
    log-out counts.
    """
    if transaction.is_superseded:
        return True
    if result not in ("unchanged", "touched"):
        return False
    snapshot = transaction.snapshot
    try:
        found = None if snapshot is None else transaction.manager.loader.look_up(snapshot.key)
        return isinstance(found, Tombstone) and found.kind == "login"
    except (StoreUnavailable, CorruptRecord):
        return False
