"""Imports the sessions of another library, one at a time, when their cookies arrive.

Each foreign session has two records in our store, both under keys derived from its name:

- the **session**, under `derived_id`, so that parallel requests with one foreign cookie create one
  session without coordination;
- a **receipt**, which outlives the session and holds its birth token: a session that was imported,
  used and destroyed is never imported again, neither from a replayed cookie nor by a request that
  had already read the foreign record. It is stored after the session, so that a crash in between
  loses nothing, and before our own cookie is sent.

Only a session with the token of the receipt is used. A request that created another one, because
the first was destroyed in between, finds the token of the first and destroys its own session.

The foreign cookie opens the session until our own cookie has come back, which shows that the
browser keeps it. The session then loses its birth token. A later request with only the foreign
cookie either began before or comes from a thief: it is anonymous and can neither store anything nor
replace our cookie.

The foreign record is deleted last. So after a crash at any point, the next request with that cookie
finds either the foreign record or our session.

Not promised: changes that the other library makes to a session afterwards, as in workers of the
former release, are lost.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.clock import wall_clock
from wsgi_sessions.core.commit.new_session import NewSession
from wsgi_sessions.core.draft import LIFETIME, Draft
from wsgi_sessions.core.record.tombstones import Tombstone
from wsgi_sessions.endings import Cause
from wsgi_sessions.errors import (
    ImportRefused,
    SessionError,
    SessionExists,
    SessionSuperseded,
    SessionTooLarge,
    UnserializableValue,
)
from wsgi_sessions.identity import derived_id, short_key, store_key
from wsgi_sessions.importers.receipts import BIRTH, Receipt, birth

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from wsgi_sessions.core.draft import Snapshot
    from wsgi_sessions.core.manager import SessionManager
    from wsgi_sessions.importers.base import Imported, Importer

CLOCK_MARGIN = 3600.0
"""Extra seconds for which receipts are kept, because the clocks of hosts differ."""

_log = texts.log(__name__)


def end_of(day: date) -> float:
    """Return the end of a day in UTC, in seconds since the epoch."""
    begin = datetime(day.year, day.month, day.day, tzinfo=timezone.utc)
    return (begin + timedelta(days=1)).timestamp()


def log_end(kind: str) -> None:
    """Log that nothing is imported any more."""
    _log.warning("the time for importing sessions of %s is over: remove `imports.source`", kind)


class Adoption:
    """Imports the sessions that an importer finds, up to and including the day `until` (UTC).

    `clock`: seconds since the epoch.
    """

    def __init__(
        self,
        manager: SessionManager,
        importer: Importer,
        *,
        until: date,
        clock: Callable[[], float] = wall_clock,
    ) -> None:
        self._manager = manager
        self._importer = importer
        self._clock = clock
        self._end = end_of(until)
        self._is_over = False

    def session_id(self, header: str | None, route: Callable[[], str]) -> str | None:
        """Return the id of our session for the foreign cookie in a Cookie header, if any.

        A header without a potentially valid cookie costs no store call. Raises SessionSuperseded if
        our own cookie has opened the session: only that cookie opens it from then on. Raises
        StoreUnavailable, also if the foreign store does not answer: it is then unknown whether the
        user is logged out.
        """
        return self._chosen(self._importer.names(header), route)

    def adopt(self, value: str, route: Callable[[], str]) -> str | None:
        """Return the same for the value of such a cookie, as read by a framework."""
        return self._chosen(self._importer.names_in([value]), route)

    def _chosen(self, names: list[str], route: Callable[[], str]) -> str | None:
        if not names or not self._is_open():
            return None
        if len(names) > 1:
            self._manager.events.emit("ambiguous", route=route())
            return None
        return self._adopt(names[0], route)

    def came_back(self, draft: Draft, route: str) -> None:
        """Note that a request opened this session with our own cookie. Best effort: never raises.

        Changes only an imported session, and only the first time.
        """
        snapshot = draft.snapshot
        if snapshot is None or BIRTH not in snapshot.envelope.metadata or not self._is_open():
            return
        own = Draft(snapshot)
        own.set_metadata(BIRTH, None)
        try:
            self._manager.commit_data(own, route, "background")
        except SessionError as error:  # the page does not need it
            _log.warning(
                "an imported session still opens with its former cookie; the next request tries "
                "again to end that: %s",
                error,
            )
            return
        if own.snapshot is not None and not draft.is_changed():
            draft.advance(own.snapshot)

    def close(self) -> None:
        """Close connections of the importer."""
        self._importer.records.close()

    def _is_open(self) -> bool:
        if self._clock() < self._end:
            return True
        if not self._is_over:
            self._is_over = True
            log_end(self._importer.kind)
        return False

    def _adopt(self, name: str, route: Callable[[], str]) -> str | None:
        kind = self._importer.kind
        session_id = derived_id("import", kind, name)
        now = self._clock()
        kept_until = min(self._end, now + self._importer.memory) + CLOCK_MARGIN
        receipt = Receipt(self._manager.backend.sessions, kind, name, kept_until)
        # In this order: if the record is gone by now, it was imported or destroyed before the
        # receipt is read; a receipt that is not there yet is found by `claim`.
        imported = self._load(name, session_id, route)
        is_new = imported is not None and receipt.birth() is None
        snapshot = self._manager.loader.load(session_id)
        is_first = snapshot is None and is_new
        if imported is not None and is_first:
            snapshot = self._create(session_id, imported, route)
        if snapshot is None:
            return None
        if BIRTH not in snapshot.envelope.metadata:
            raise SessionSuperseded(Tombstone(snapshot.key, "login", snapshot.key))
        if not receipt.claim(birth(snapshot.envelope), now):
            self._manager.destroy(snapshot.key, by="an import that came too late")
            return None
        self._manager.principals.add(snapshot.key, snapshot.envelope)
        self._importer.records.delete(name)
        if is_first:
            self._note_taken(receipt.key, snapshot, route())
        return session_id

    def _note_taken(self, key: str, snapshot: Snapshot, route: str) -> None:
        """Report the end of the foreign session, under the key of its receipt."""
        cause = Cause(
            "taken-over", route=route, detail=f"it was a session of {self._importer.kind}"
        )
        self._manager.endings.note(key, cause, snapshot.envelope, successor=snapshot.key)

    def _load(self, name: str, session_id: str, route: Callable[[], str]) -> Imported | None:
        try:
            return self._importer.load(name)
        except ImportRefused as error:
            # It may have been converted in advance: then that is used, and this report is harmless.
            if self._manager.loader.load(session_id) is None:
                self._refuse(session_id, error.reason, route)
            return None

    def _create(
        self, session_id: str, imported: Imported, route: Callable[[], str]
    ) -> Snapshot | None:
        try:
            snapshot = self._manager.create(session_id, new_session(imported, route()))
        except SessionExists:  # made by a parallel request
            return self._manager.loader.load(session_id)
        except (UnserializableValue, SessionTooLarge) as error:
            self._refuse(session_id, str(error), route)
            return None
        self._manager.events.emit(
            "imported", short_key(snapshot.key), library=self._importer.kind, route=route()
        )
        return snapshot

    def _refuse(self, session_id: str, reason: str, route: Callable[[], str]) -> None:
        self._manager.events.emit(
            "import-refused", short_key(store_key(session_id)), reason=reason, route=route()
        )


def new_session(imported: Imported, route: str, token: bytes | None = None) -> NewSession:
    """Return the initial data of an imported session; its birth token is new by default."""
    metadata = {BIRTH: token or os.urandom(16), LIFETIME: imported.lifetime}
    return NewSession(imported.data, metadata, route)
