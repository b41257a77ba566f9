"""Prolonging: requests that only read move the expiry. A fault in it never fails the request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.background import FaultLog
from wsgi_sessions.clock import monotonic
from wsgi_sessions.core.commit.throttle import Throttle
from wsgi_sessions.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.contract import SessionStore
    from wsgi_sessions.core.draft import Snapshot

PAUSE_SECONDS = 5.0
_log = texts.log(__name__)


class Prolonger:
    """Prolongs sessions in a store that may take no writes: a full or read-only disk, a replica.

    A fault is one WARNING until it is over. For `PAUSE_SECONDS` after a fault nothing is tried, so
    that not every page waits for the store to fail. `clock`: seconds, from any moment.
    """

    def __init__(self, store: SessionStore, clock: Callable[[], float] = monotonic) -> None:
        self._store = store
        self._clock = clock
        self._resumes_at = float("-inf")
        self._left_to_the_store = Throttle()
        self._trouble = FaultLog(
            _log,
            "sessions that are only read are not prolonged: the pages are served, and users who "
            "change nothing are logged out when the idle lifetime is over",
        )

    def prolong(self, base: Snapshot, now: float, expires_at: float) -> bool:
        """Move a session's expiry; return whether it did. Never raises StoreUnavailable.

        A session that already seems to expire later is left to the store, and only now and then:
        the later expiry may be right.
        """
        if base.expires_at > expires_at:
            often = (expires_at - now) / 20
            if not self._left_to_the_store.is_due(base.key, now, often):
                return False
        if self._clock() < self._resumes_at:
            return False
        try:
            self._store.touch(base.key, expires_at)
        except StoreUnavailable as error:
            self._resumes_at = self._clock() + PAUSE_SECONDS
            self._trouble.met(error)
            return False
        self._trouble.over()
        return True
