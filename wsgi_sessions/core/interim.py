"""Interim commits: what a request stores before its response, as it needs no cookie."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.core.commit.results import NO_COOKIE
from wsgi_sessions.core.source import Phase
from wsgi_sessions.errors import SessionGone

if TYPE_CHECKING:
    from wsgi_sessions.core.draft import Checkpoint, Draft
    from wsgi_sessions.core.transaction import Transaction

_log = texts.log(__name__)


def store_what_needs_no_cookie(transaction: Transaction, draft: Draft) -> bool:
    """Store the changed data; return whether it did. Never beside a pending new id.

    The old id may have been planted: with a new id pending, data is stored only by the commit that
    sends the cookie. Raises as `SessionManager.commit_data`, except SessionGone: the commit that
    goes with the headers finds the same, and reports it.
    """
    manager, activity = transaction.manager, transaction.activity
    for callback in transaction.before_commit:
        callback()
    manager.destroy_at_once(draft, transaction.request.route)
    if manager.identity.changed(draft, activity):
        return False
    draft.fence = None if transaction.turn is None else transaction.turn.fence
    before = draft.snapshot
    try:
        manager.commit_data(draft, transaction.request.route(), activity)
    except SessionGone:
        _log.debug("the session of some changes is gone; the commit will report it")
    if draft.snapshot is not before:
        transaction.note("saved")
    return True


def store_block(transaction: Transaction, draft: Draft, before: Checkpoint) -> bool:
    """Store the changes of a block; return whether that is done, and its mutex may be freed.

    If they have to wait for a cookie, the block lasts until the commit. After the headers have
    left, it is undone, back to `before`, and reported.
    """
    if store_what_needs_no_cookie(transaction, draft):
        return True
    if transaction.phase is Phase.OPEN:
        return False
    transaction.manager.drop(NO_COOKIE, draft, draft.snapshot, transaction.request.route())
    draft.restore(before)
    return True
