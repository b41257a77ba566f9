"""The session as an application sees it: a mapping, with log-in, log-out and typed operations.

It knows no WSGI and no store: its `Source` provides everything.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from wsgi_sessions.core.draft import (
    KEEP_ALIVE,
    LIFETIME,
    PRINCIPAL,
    REFRESHED,
    SUPERSEDED,
    Draft,
    check_principal,
)
from wsgi_sessions.core.limits.labels import label_of, set_label
from wsgi_sessions.core.limits.lifetimes import checked
from wsgi_sessions.core.merge.delta import ABSENT
from wsgi_sessions.core.record.keys import check_key, shown
from wsgi_sessions.core.source import Phase, require_cookie
from wsgi_sessions.errors import CorruptRecord, HeadersAlreadySent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from datetime import datetime, timedelta
    from decimal import Decimal

    from wsgi_sessions.core.source import Source
    from wsgi_sessions.endings import EndReason, RefusalReason

_ENDED = Phase.ENDED  # a look-up of a member takes as long as five of these


class Session(MutableMapping[str, Any]):
    """A dictionary of one visitor, kept between requests and shared by all workers.

    Nothing is read before the first access, and nothing is stored for a visitor until something is
    put in. Values are those of `wsgi_sessions.core.record.codec`; keys are strings. Changes in
    place (``session["cart"].append(x)``) are found: there is no ``modified`` flag to set.

    Changes are merged with those of overlapping requests; see `wsgi_sessions.core.merge.delta`. An
    assigned value stands or falls as a whole; a value changed in place merges by key. For a counter
    use `increment`, for a list `append`, for any other read-modify-write `exclusive`.

    Raises:
        StoreUnavailable: at the first access, if the store does not answer. Then the session reads
            as empty, for error pages, and every write raises it again.
        CorruptRecord: a value does not decode.
        HeadersAlreadySent: a change needs a cookie after the headers, or the request has ended.
        UnserializableValue: a value cannot be kept; the error has the path to it.
    """

    __slots__ = ("_draft", "_source")

    def __init__(self, source: Source) -> None:
        self._source = source
        self._draft: Draft | None = None

    # -- the mapping ---------------------------------------------------------------------------

    def __getitem__(self, key: str) -> Any:
        value = self.get(key, ABSENT)
        if value is ABSENT:
            raise KeyError(shown(key))
        return value

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or `default`."""
        # Mapping.get would raise and catch a KeyError for every absent key.
        draft = self._draft or self._read()
        try:
            value = draft.data.get(key)
        except CorruptRecord as error:
            self._source.damaged(error)
            raise
        return default if value is ABSENT else value

    def __setitem__(self, key: str, value: Any) -> None:
        if type(key) is not str or not key.isascii():
            check_key(key)
        self._write().data.set(key, value)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return the value of a key; if it is absent, assign `default`.

        A list, dictionary or set is assigned only if no overlapping request assigned the key.
        Changes in it are merged: ``session.setdefault("cart", []).append("tea")``.
        """
        value = self.get(key, ABSENT)
        if value is not ABSENT:
            return value
        if not isinstance(default, (list, dict, set)):
            self[key] = default
            return default
        check_key(key)
        return self._write().data.default(key, default)

    def __delitem__(self, key: str) -> None:
        data = self._write().data
        if not data.has(key):
            self.get(key)  # a KeyError tells that it is absent: a read
            raise KeyError(shown(key))
        data.delete(key)

    def __contains__(self, key: object) -> bool:
        data = self._read().data
        return isinstance(key, str) and key in data

    def __iter__(self) -> Iterator[str]:
        return iter(self._read().data)

    def __len__(self) -> int:
        return len(self._read().data)

    def clear(self) -> None:
        """Remove all keys that this request sees. The session, its id and its principal stay."""
        data = self._write().data
        for key in data.keys():  # noqa: SIM118  # to iterate would be to look at them
            data.delete(key)

    def __repr__(self) -> str:
        state = f"{len(self._read().data)} keys" if self.accessed else "not accessed"
        return f"<Session: {state}>"  # no values: a repr ends up in logs

    __hash__ = None  # type: ignore[assignment]  # a mutable mapping

    # -- typed operations ----------------------------------------------------------------------

    def increment(self, key: str, by: int | float | Decimal = 1) -> Any:
        """Add `by` to a number (absent: 0), so that overlapping increments all count.

        Returns the sum as this request sees it; others may add more. Raises TypeError for anything
        but a number.
        """
        check_key(key)
        return self._decoding(self._write().data.increment, key, by)

    def append(self, key: str, value: Any) -> None:
        """Append to a list (absent: empty); overlapping appends all stay. Raises TypeError."""
        check_key(key)
        self._decoding(self._write().data.append, key, value)

    def exclusive(self, timeout: float | None = None) -> AbstractContextManager[None]:
        """Return a block that excludes other such blocks of the session, and is stored at its end.

        Entering waits for the other blocks, under any id of the session, and reads afresh; earlier
        changes of this request are put on top. A later 500 or 409 of the request does not undo the
        block. A block that raises stores nothing, and its changes are undone.

        A block with a log-in or a new id pending lasts until the response, whose commit brings the
        cookie: nothing of it is stored under the old id, which may have been planted. After the
        headers have left, such a block is undone, which is event ``dropped``.

        Not promised: that requests outside `exclusive` wait. They go on, and merge. The first
        request of a new session never waits.

        Raises:
            LockTimeout: after `timeout` seconds; None: the setting `exclusive_wait`.
            TooManyWaiting: at once, if two requests of this process are waiting for it already.
            LockLost: the block lost its lock (Redis, SQL: after 30 s), and was undone.
        """
        return self._source.exclusive(timeout)

    def commit(self) -> None:
        """Store now what needs no cookie: for streams, sockets and long jobs.

        When it returns, all other requests see the changes; a later error of the request does not
        undo them. A log-out takes place. Changes that need a cookie (the first ones of a session, a
        log-in or new id and all changes beside it, `remember`) wait for the response, and so do
        those of a session that has ended, which are then reported.

        Raises:
            StoreUnavailable, SessionConflict, SessionTooLarge, UnserializableValue: nothing was
                stored, and the changes stay pending.
            RuntimeError: in an `exclusive` block, whose end commits.
            HeadersAlreadySent: after the end of the request.
        """
        self._source.store()

    # -- identity ------------------------------------------------------------------------------

    def login(self, principal: str | int, *, keep: Iterable[str] = ()) -> None:
        """Bind the session to a principal (a user), under a new id; the old id is dead at once.

        The data of another principal is dropped first. The absolute lifetime starts again. Call it
        at log-in, at re-authentication and at any change of privilege.

        When an anonymous visitor logs in, keys that an attacker may have planted are dropped:
        those of the setting `login_drops` (CSRF tokens), but for `keep` and those that this request
        assigned.

        Two overlapping log-ins (a form sent twice) each get their own session and cookie. Other
        requests' changes to the former session are dropped, as event ``superseded``.
        """
        check_principal(principal, "principal")
        draft = self._write()
        require_cookie(self._source, "a log-in")
        if draft.get_metadata(PRINCIPAL) is None:
            self._source.drop_planted(keep)
        elif draft.get_metadata(PRINCIPAL) != principal:
            draft.flush(SUPERSEDED)
        draft.set_metadata(PRINCIPAL, principal)
        draft.cycling = "login"

    def cycle_id(self) -> None:
        """Give the session a new id at the commit, with overlapping changes; the old is dead."""
        draft = self._write()
        require_cookie(self._source, "a new session id")
        draft.cycling = draft.cycling or "cycle"

    def flush(self) -> None:
        """Log out: destroy the record and everything in it, and expire the cookie.

        An overlapping save cannot bring it back; an id of the last minute counts too. Later changes
        begin a new, anonymous session. Done at the commit, even if the response is an error.
        """
        self._write().flush()

    def remember(self, lifetime: timedelta | float | datetime | None) -> None:
        """Keep the session for `lifetime`, and its cookie as long. It begins no session on its own.

        A number (seconds) or timedelta of idleness; a datetime: until then, used or not; None: the
        configured idle lifetime, and a cookie that ends with the browser. The absolute lifetime is
        the limit. Raises ValueError below a second, or for a moment without a time zone.
        """
        draft = self._write()
        require_cookie(self._source, "a longer cookie")
        draft.set_metadata(LIFETIME, None if lifetime is None else checked(lifetime))

    def keep_alive(self, wanted: bool = True) -> None:  # noqa: FBT001, FBT002 - reads as a sentence
        """Switch the background refresh of this session, which prolongs nothing, on or off.

        See `Refresher`: its hook is called soon, and then once per interval, while no request uses
        the session. Raises TypeError unless `wanted` is True or False.
        """
        if not isinstance(wanted, bool):  # "off" would be true
            raise TypeError(f"keep_alive takes True or False, not {type(wanted).__name__}")
        self._write().set_metadata(KEEP_ALIVE, True if wanted else None)

    # -- facts ---------------------------------------------------------------------------------

    @property
    def principal(self) -> str | int | None:
        """The user that the session is bound to, or None."""
        value: str | int | None = self._read().get_metadata(PRINCIPAL)
        return value

    @property
    def lifetime(self) -> float | datetime | None:
        """The lifetime asked for with `remember`: seconds of idleness, a moment, or None."""
        value: float | datetime | None = self._read().get_metadata(LIFETIME)
        return value

    @property
    def label(self) -> str | None:
        """The device in words for its user ("Ann's phone"), or None: 200 characters at most.
        `sessions_of` has it. It begins no session on its own."""
        return label_of(self._read())

    @label.setter
    def label(self, words: str | None) -> None:
        set_label(self._write(), words)

    @property
    def key(self) -> str | None:
        """The name of the session in the store, in logs (10 digits) and for `destroy_sessions_of`;
        None if it is new. It opens nothing. A new id brings a new key, with the response."""
        snapshot = self._read().snapshot
        return None if snapshot is None else snapshot.key

    @property
    def new(self) -> bool:
        """True while nothing is stored in this session."""
        return self._read().is_new()

    @property
    def created_at(self) -> float | None:
        """Time of creation, or of the last log-in, in seconds since the epoch; None if new."""
        snapshot = self._read().snapshot
        return None if snapshot is None else snapshot.envelope.created_at

    @property
    def expires_at(self) -> float | None:
        """Time of expiry if it stays idle, in seconds since the epoch; None if new."""
        snapshot = self._read().snapshot
        return None if snapshot is None else snapshot.expires_at

    @property
    def is_repeated(self) -> bool:
        """Whether the client sent this request again within a minute, with the same retry token
        (the setting `retry_token_header`), after the first one was stored. The session's changes
        are not stored again: do nothing elsewhere, either."""
        return self._read().is_repeated()

    @property
    def is_kept_alive(self) -> bool:
        """Whether `keep_alive` is on."""
        return bool(self._read().get_metadata(KEEP_ALIVE))

    @property
    def refreshed_at(self) -> float | None:
        """Time of the last background refresh, in seconds since the epoch, or None."""
        value: float | None = self._read().get_metadata(REFRESHED)
        return value

    @property
    def lost(self) -> EndReason | RefusalReason | None:
        """The reason why the session of the presented cookie is not there, or None: one of
        `wsgi_sessions.endings`, such as ``expired-idle``. Costs a store call or two."""
        return self._source.why_lost()

    @property
    def accessed(self) -> bool:
        """Whether the session was read, so that the response depends on it."""
        return self._source.is_accessed

    @property
    def modified(self) -> bool:
        """Whether there is something to commit."""
        return self._source.is_accessed and self._read().is_changed()

    # -- inside --------------------------------------------------------------------------------

    def _read(self) -> Draft:
        if self._draft is None:
            self._draft = self._source.draft()
        return self._draft

    def _write(self) -> Draft:
        draft = self._draft or self._read()
        if self._source.phase is _ENDED:
            raise HeadersAlreadySent("the request has ended: the session can no longer be changed")
        if draft.snapshot is None:
            if draft.fault is not None:
                raise draft.fault
            require_cookie(self._source, "a new session")
        return draft

    def _decoding(self, action: Callable[..., Any], *args: Any) -> Any:
        """Call an action that decodes stored values; report a damaged one."""
        try:
            return action(*args)
        except CorruptRecord as error:
            self._source.damaged(error)
            raise
