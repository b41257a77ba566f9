"""Ender: ends sessions, under any id, and reports each. No WSGI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.core.commit.succession import Succession
from wsgi_sessions.core.draft import PRINCIPAL
from wsgi_sessions.endings import Cause
from wsgi_sessions.errors import CorruptRecord, UnsupportedFormat

if TYPE_CHECKING:
    from wsgi_sessions.contract import SessionStore
    from wsgi_sessions.core.draft import Draft, Snapshot
    from wsgi_sessions.core.endings.report import EndingReport
    from wsgi_sessions.core.limits.census import Census
    from wsgi_sessions.core.loading import Loader
    from wsgi_sessions.core.principals import Principals
    from wsgi_sessions.core.record.tombstones import Tombstone


class Ender:
    """Ends sessions of one store; `census` counts them. Every call may raise StoreUnavailable."""

    def __init__(
        self,
        store: SessionStore,
        loader: Loader,
        principals: Principals,
        census: Census | None,
        report: EndingReport,
    ) -> None:
        self._store = store
        self._succession = Succession(store, report.clock)
        self._loader = loader
        self._principals = principals
        self._census = census
        self._report = report

    def end_doomed(self, draft: Draft, route: str) -> None:
        """End the sessions that a draft dooms.

        A log-out that is the first step of a log-in spares a faster log-in.
        """
        logs_in = draft.logs_in or draft.get_metadata(PRINCIPAL) is not None
        while draft.doomed:
            cause = Cause(draft.doom.why, "request", route, draft.doom.detail)
            self.end(draft.doomed[-1], cause, beyond_logins=not logs_in)
            draft.doomed.pop()

    def end(
        self, doomed: Snapshot | Tombstone, cause: Cause, *, beyond_logins: bool = True
    ) -> None:
        """End a session under any id; see `Succession.end`."""
        for ended in self._succession.end(doomed, cause.why, beyond_logins=beyond_logins):
            self._principals.unlist(ended)
            self._report.destroyed(ended.key, cause, ended.envelope)
            if self._census is not None:
                self._census.note(-1)

    def end_at(self, key: str, cause: Cause) -> None:
        """End the session with this store key, even while it is used. Idempotent.

        If it got another id within the last minute, it ends under that.
        """
        try:
            found = self._loader.look_up(key)
        except (UnsupportedFormat, CorruptRecord):
            self._store.delete(key)
            self._report.destroyed(key, cause)
            return
        if found is None:
            self._store.delete(key)  # a record that leads nowhere may be there
        else:
            self.end(found, cause)
