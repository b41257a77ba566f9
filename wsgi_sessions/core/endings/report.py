"""EndingReport: every end of a session is an event, and may leave a trace. No WSGI."""

from __future__ import annotations

import os
import socket
from functools import partial
from typing import TYPE_CHECKING

from wsgi_sessions.clock import wall_clock
from wsgi_sessions.core.draft import PRINCIPAL
from wsgi_sessions.core.endings.expiry import expiry_of
from wsgi_sessions.core.endings.losses import Losses
from wsgi_sessions.core.endings.refusals import Refusals
from wsgi_sessions.core.endings.steps import steps_of
from wsgi_sessions.endings import Cause, EndTrace
from wsgi_sessions.errors import CorruptRecord, UnsupportedFormat
from wsgi_sessions.identity import short_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.contract import Backend, Record
    from wsgi_sessions.core.draft import Snapshot
    from wsgi_sessions.core.endings.traces import Traces
    from wsgi_sessions.core.events import Events
    from wsgi_sessions.core.limits.lifetimes import Lifetimes
    from wsgi_sessions.core.record.envelope import Envelope
    from wsgi_sessions.endings import EndReason
    from wsgi_sessions.upkeep import OnDeleted

_COMMITS = 3


class EndingReport:
    """Reports ends as event ``ended``, and has a trace of each kept, if there are `traces`.

    Its `losses` explain to those who come back, its `refusals` report cookies that lead to no
    session. `clock`: seconds since the epoch.
    """

    def __init__(
        self,
        events: Events,
        lifetimes: Lifetimes,
        backend: Backend | None = None,
        traces: Traces | None = None,
        clock: Callable[[], float] = wall_clock,
    ) -> None:
        self._events = events
        self._lifetimes = lifetimes
        self.traces = traces
        self.losses = Losses(traces, backend, lifetimes)
        self.refusals = Refusals(events, self.losses.of)
        self.clock = clock

    def note(
        self,
        key: str,
        cause: Cause,
        envelope: Envelope | None = None,
        *,
        at: float | None = None,
        successor: str | None = None,
    ) -> None:
        """Report the end of the session with this store key, once it is over.

        `envelope` is its last known content. `at` is when it ended, if not now.
        """
        ending = self._ending(key, cause.short(), envelope, at, successor)
        facts = {
            "why": ending.why,
            "by": ending.by,
            "route": ending.route,
            "at": round(ending.at, 3),
            "detail": ending.detail,
            "user": ending.user,
            "to": None if successor is None else short_key(successor),
        }
        known = {name: fact for name, fact in facts.items() if fact is not None}
        self._events.emit("ended", short_key(key), **known)
        if self.traces is not None:
            self.traces.keep(ending)

    def expired(self, key: str, record: Record, by: str = "sweeper") -> None:
        """Report a session whose expired record was deleted by a sweep, or by a command."""
        expiry = expiry_of(key, record, self._lifetimes)
        if expiry is not None:
            self.note(key, Cause(expiry.why, by), expiry.envelope, at=expiry.at)

    def expired_by(self, by: str) -> OnDeleted:
        """Return `expired`, with the name of the one that deletes."""
        return partial(self.expired, by=by)

    def destroyed(self, key: str, cause: Cause, envelope: Envelope | None = None) -> None:
        """Report the end of a session that was deleted on purpose."""
        self._events.emit("destroyed", short_key(key))
        self.note(key, cause, envelope)

    def _ending(
        self,
        key: str,
        cause: Cause,
        envelope: Envelope | None,
        at: float | None,
        successor: str | None,
    ) -> EndTrace:
        return EndTrace(
            key,
            cause.why,
            self.clock() if at is None else at,
            cause.by,
            cause.route,
            cause.detail,
            successor,
            None if envelope is None else self._user(envelope),
            None if envelope is None else envelope.created_at,
            () if envelope is None else _latest(envelope),
            () if envelope is None else steps_of(envelope),
            process_name(),
        )

    def _user(self, envelope: Envelope) -> str | None:
        try:
            return self._events.pseudonyms.of(envelope.get_metadata(PRINCIPAL))
        except (CorruptRecord, UnsupportedFormat):
            return None


def why_replaced(former: Snapshot, present: Snapshot) -> EndReason:
    """Return why the record `former` is over, where the session goes on at `present`."""
    before, after = (each.envelope.get_metadata(PRINCIPAL) for each in (former, present))
    if before is None or before == after:
        return "replaced"
    return "logged-out" if after is None else "superseded"


def process_name() -> str:
    """Return the host and the process: those whose clock a time is by."""
    return f"{socket.gethostname()}, process {os.getpid()}"


def _latest(envelope: Envelope) -> tuple[tuple[float, str], ...]:
    return tuple((commit.at, commit.route) for commit in envelope.commits[-_COMMITS:])
