"""Flask's rules for a session at the end of its request."""

from __future__ import annotations

from datetime import datetime, timezone
from enum import Enum
from typing import TYPE_CHECKING, Literal

from wsgi_sessions.clock import wall_clock
from wsgi_sessions.core.draft import LIFETIME
from wsgi_sessions.core.record.plain import encode_plain
from wsgi_sessions.core.source import Phase
from wsgi_sessions.errors import CorruptRecord, StoreUnavailable

if TYPE_CHECKING:
    from wsgi_sessions.http.exchange import SessionExchange

_FLASKS_KEY = "_permanent"
_SAME_LIFETIME = 0.05
"""The fraction by which a lifetime may differ without being stored."""


class Origin(Enum):
    """The place where a session was opened, which determines what commits it."""

    STACK = "our middleware"
    REQUEST = "Flask's save_session"
    EVENT = "the same, for an event of a socket: no response is sent, so no cookie"


class Ending:
    """The flags of a session in a request (`permanent`, `modified`), and their effect.

    `lifetime` is that of a permanent session, in seconds.
    """

    def __init__(
        self,
        exchange: SessionExchange,
        origin: Origin,
        lifetime: float,
        *,
        permanent_by_default: object = False,
    ) -> None:
        self.exchange = exchange
        self.origin = origin
        self.permanent: bool | None = None
        self.modified: bool | None = None  # None: not set
        self._transaction = transaction = exchange.transaction
        self._session = transaction.session
        self._lifetime = lifetime
        self._asked: float | None = None
        self._begins_permanent = bool(permanent_by_default)
        self._version_read: int | None = None
        transaction.when_loaded(self._begin)
        transaction.when_committing(self._settle)

    def is_permanent(self) -> bool:
        """See `FlaskSession.permanent`."""
        if self.permanent is not None:
            return self.permanent
        session = self._session
        return session.lifetime is not None or (self._begins_permanent and session.new)

    def is_modified(self) -> bool:
        """See `FlaskSession.modified`."""
        if self.modified is not None:
            return self.modified
        session = self._session
        return session.modified or (session.accessed and self._version() != self._version_read)

    def changed(self) -> None:
        """Note a change: `modified` is no longer False."""
        if self.modified is False:
            self.modified = None

    def flushed(self) -> None:
        """Note the end of the session; a new one may be permanent or not."""
        self.permanent = None
        self.changed()

    def renew(self, when: Literal["each request", "on change"]) -> None:
        """Renew a permanent session: its cookie in each response, or only on changes.

        Setting `modified` counts as a change. Renewal with each request reads the session even if
        the request did not use it. If that read fails, the session is not renewed, and the response
        is sent anyway.
        """
        if when == "on change" and not self._session.accessed:
            return
        try:
            if self._transaction.peek().get_metadata(LIFETIME) is None:
                return
        except (StoreUnavailable, CorruptRecord):
            return
        _ = self._session.lifetime  # an access: the response now depends on it
        is_asked_for = when == "each request" or self.modified
        self._transaction.renewal = "always" if is_asked_for else "on change"

    def expire(self, moment: datetime | None) -> None:
        """Let the session and its cookie last until `moment` without use; a datetime without a time
        zone is UTC. None: until the browser ends.

        A moment relative to now is stored again when the remaining time differs by more than 5 %.
        """
        if moment is None:
            self.permanent = False
            return
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        self.permanent = True
        self._asked = max(1.0, moment.timestamp() - wall_clock())

    def check(self) -> None:
        """Raise UnserializableValue for unsupported values inside a stored value.

        The commit would raise it too, but outside Flask and its error handlers.
        """
        _ = self._session.modified

    def _begin(self) -> None:
        """Prepare at the first access. A session imported from Flask's cookie or from Flask-Session
        has its permanence among its keys."""
        self._version_read = self._version()
        draft = self._transaction.draft()
        draft.accept(encode_plain)
        data = draft.data
        if data.has(_FLASKS_KEY) and self._transaction.phase is Phase.OPEN:
            if self.permanent is None and self._session[_FLASKS_KEY]:
                self.permanent = True
            del self._session[_FLASKS_KEY]

    def _settle(self) -> None:
        """Apply the flags just before a commit."""
        draft = self._transaction.draft()
        if self.modified is False:
            draft.adopt(draft.snapshot)
            return
        if self._was_emptied():
            self._transaction.catch_up()  # keys that other requests have added since stay
            if not self._session:
                self._session.flush()
        self._settle_lifetime()

    def _was_emptied(self) -> bool:
        draft = self._transaction.draft()
        if draft.snapshot is None or draft.cycling or len(draft.data):
            return False
        return bool(draft.snapshot.envelope.data)

    def _settle_lifetime(self) -> None:
        session = self._session
        is_nothing = session.new and not session and session.principal is None
        if is_nothing or self._transaction.phase is not Phase.OPEN:
            return
        if self.permanent is None and not (self._begins_permanent and session.new):
            return  # no flag was set
        lifetime = self._wanted_lifetime() if self.is_permanent() else None
        if session.lifetime != lifetime:
            session.remember(lifetime)

    def _wanted_lifetime(self) -> float:
        if self._asked is None:
            return self._lifetime
        before = self._session.lifetime
        if isinstance(before, float) and abs(before - self._asked) <= before * _SAME_LIFETIME:
            return before
        return self._asked

    def _version(self) -> int | None:
        snapshot = self._transaction.snapshot
        return None if snapshot is None else snapshot.version
