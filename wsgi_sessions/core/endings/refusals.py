"""Refusals: reports of cookies that lead to no session, at a bounded rate. No WSGI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.clock import monotonic
from wsgi_sessions.core.commit.throttle import Throttle
from wsgi_sessions.identity import short_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.core.events import Events
    from wsgi_sessions.endings import Absence

SECONDS = 10.0
MOST = 10
"""The most reports of this process in `SECONDS`; the next one says how many were left out."""
_SAME_SECONDS = 60.0


class Refusals:
    """Reports refused cookies as event ``refused``: the same one once a minute, and few in all.

    A client can send any number of them. So `lost`, which may ask the store, is called only for
    those that are reported.

    `clock`: seconds, from any moment.
    """

    def __init__(
        self,
        events: Events,
        lost: Callable[[str], Absence],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._events = events
        self._lost = lost
        self._clock = clock
        self._seen = Throttle()
        self._rate = _Rate()

    def note(self, key: str, route: str) -> None:
        """Report a cookie whose session, with this store key (or `UNSIGNED`), is not there."""
        now = self._clock()
        if not self._seen.is_due(key, now, _SAME_SECONDS if key else SECONDS):
            self._rate.more += 1
            return
        if not self._rate.has_room(now):
            return
        more, self._rate.more = self._rate.more, 0
        facts: dict[str, object] = {"route": route}
        if more:
            facts["more"] = more
        loss = self._lost(key)
        if loss.is_inferred:
            facts["inferred"] = True
        self._events.emit("refused", short_key(key) or None, why=loss.why, **facts)


@texts.shows("more")
class _Rate:
    """The number of reports in the present span. Two threads that race may both find room."""

    def __init__(self) -> None:
        self.more = 0
        self._began = float("-inf")
        self._number = 0

    def has_room(self, now: float) -> bool:
        if not 0 <= now - self._began < SECONDS:
            self._began, self._number = now, 0
        if self._number >= MOST:
            self.more += 1
            return False
        self._number += 1
        return True
