"""The refresh schedule: which stored sessions are due for a background refresh, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.core.draft import KEEP_ALIVE
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.identity import short_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.contract import RefreshQueue
    from wsgi_sessions.core.draft import Snapshot

_log = texts.log(__name__)


class RefreshSchedule:
    """Keeps the queue of a store in step with its sessions. None: the store has no queue.

    `clock`: seconds since the epoch.
    """

    def __init__(self, queue: RefreshQueue | None, clock: Callable[[], float]) -> None:
        self._queue = queue
        self._clock = clock

    def follow(self, before: Snapshot | None, after: Snapshot) -> None:
        """Update the queue after a commit that changed keep-alive or the key.

        The commit is done, so a fault is only logged; the session is then not refreshed until the
        next call of `Session.keep_alive`, or its next id.
        """
        was = before is not None and KEEP_ALIVE in before.envelope.metadata
        is_now = KEEP_ALIVE in after.envelope.metadata
        if not was and not is_now:
            return
        queue, old_key = self._queue, None if before is None else before.key
        if queue is None or (was and is_now and old_key == after.key):
            return
        try:
            if is_now:
                queue.schedule(after.key, self._clock())
            if old_key is not None and (old_key != after.key or not is_now):
                queue.remove(old_key)
        except StoreUnavailable as error:
            _log.warning("session %s is not scheduled: %s", short_key(after.key), error)
