"""The session as an application sees it: a mapping, with log-in, log-out and typed operations.

It knows no WSGI and no store. What it needs of them comes from its `Source`.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from wsgi_sessions.core.draft import (
    KEEP_ALIVE,
    LIFETIME,
    PRINCIPAL,
    REFRESHED,
    Draft,
    check_principal,
)
from wsgi_sessions.core.limits.lifetimes import checked
from wsgi_sessions.core.merge.delta import ABSENT
from wsgi_sessions.core.record.keys import check_key, shown
from wsgi_sessions.core.source import Phase
from wsgi_sessions.errors import CorruptRecord, HeadersAlreadySent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from datetime import datetime, timedelta
    from decimal import Decimal

    from wsgi_sessions.core.source import Source

_ENDED, _OPEN = Phase.ENDED, Phase.OPEN  # a look-up of a member takes as long as five of these


class Session(MutableMapping[str, Any]):
    """A dictionary of one visitor, kept between requests and shared by all workers.

    Nothing is read before the first access, and nothing is stored for a visitor until something is
    put in. Values are those of `wsgi_sessions.core.record.codec`; keys are strings. What is mutated
    in place (``session["cart"].append(x)``) is found, there is no ``modified`` flag to set.

    Changes are merged with those of overlapping requests; see `wsgi_sessions.core.merge.delta`.
    What is assigned is one value, which stands or falls as a whole; what is changed in place merges
    by key. For a number that many requests count, use `increment`; for a list, `append`; for any
    other read-modify-write, `exclusive`.

    Raises `StoreUnavailable` at first access if the store does not answer; after that it reads as
    empty, for what runs afterwards such as an error page, and storing raises the same again. Raises
    `CorruptRecord` if a value does not decode, `HeadersAlreadySent` for a change that would need a
    cookie once the headers have left, and at any change after the end of the request.
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
        """The value of a key, or `default`."""
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
        """The value of a key; if it is absent, assign `default`.

        A list, dictionary or set is only for a key that no other request has assigned meanwhile.
        What is changed in it is merged: ``session.setdefault("cart", []).append("tea")``.
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
            self.get(key)  # whoever is told that it is absent has looked at it
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
        """Remove all keys that this request sees. The session, its id and principal stay."""
        data = self._write().data
        for key in data.keys():  # noqa: SIM118  # to iterate would be to look at them
            data.delete(key)

    def __repr__(self) -> str:
        state = f"{len(self._read().data)} keys" if self.accessed else "not accessed"
        return f"<Session: {state}>"  # no values: a repr ends in logs

    __hash__ = None  # type: ignore[assignment]  # a mutable mapping

    # -- typed operations ----------------------------------------------------------------------

    def increment(self, key: str, by: int | float | Decimal = 1) -> Any:
        """Add `by` to a number (absent: 0), so that overlapping increments all count.

        Returns the sum as this request sees it: others may add to it before the commit. Raises
        TypeError if the value is no number.
        """
        check_key(key)
        return self._decoding(self._write().data.increment, key, by)

    def append(self, key: str, value: Any) -> None:
        """Append to a list (absent: empty), so that overlapping appends all stay.

        Raises TypeError if the value is no list.
        """
        check_key(key)
        self._decoding(self._write().data.append, key, value)

    def exclusive(self, timeout: float | None = None) -> AbstractContextManager[None]:
        """A block whose changes are stored when it is left, and that no other such block of this
        session overlaps, under whatever id: a 500 or 409 of the same request does not undo it.

        Entering waits for the others (at most `timeout` seconds, None: those of the setting
        the setting `exclusive_wait`; then `LockTimeout`) and reads afresh; what this request
        had changed before is put on top. While two requests of this process wait for the session,
        a third one is refused at once (`TooManyWaiting`). A block that raises stores nothing, and
        what it changed is undone. So is one that has lost its lock (Redis, SQL: after 30 s), with
        `LockLost`.

        A block that leaves with a log-in or a new id pending is committed with the response, which
        brings the cookie, and lasts until then: nothing of it is stored under the old id, which may
        have been planted. After the headers have left, such a block is undone, and reported as
        event ``dropped``.

        Not promised: that other requests wait. Those outside `exclusive` go on, and merge. For a
        session that is not stored yet there is nobody to exclude, and the block just runs.
        """
        return self._source.exclusive(timeout)

    def commit(self) -> None:
        """Store now what needs no cookie: for streams, sockets and long jobs.

        When it returns, all other requests see the changes; a later error of the request does not
        undo them. A log-out takes place. What needs a cookie waits for the response as before: a
        session that is not stored yet, a log-in or a new id with all that was changed beside it,
        `remember`. So does what meets a session that has ended meanwhile, which is then reported.

        Raises StoreUnavailable (what was changed stays pending), SessionConflict, SessionTooLarge,
        UnserializableValue, RuntimeError in an `exclusive` block, whose end commits, and
        HeadersAlreadySent after the end of the request.
        """
        self._source.store()

    # -- identity ------------------------------------------------------------------------------

    def login(self, principal: str | int, *, keep: Iterable[str] = ()) -> None:
        """Bind the session to a principal (a user), under a new id; the old id is dead at once.

        If another principal was bound, its data is dropped first. The absolute lifetime begins
        anew. Call it at log-in, at re-authentication and at any change of privilege.

        What an attacker may have planted before is dropped when an anonymous visitor logs in: the
        keys of the setting `login_drops` (CSRF tokens), at once, but for those in `keep` and
        those that this request assigned.

        Of two log-ins that overlap (a form sent twice), each gets a session and a cookie of its
        own. What other requests under way store in the session of before is dropped, as event
        ``superseded``.
        """
        check_principal(principal, "principal")
        draft = self._write()
        self._require_cookie("a log-in")
        if draft.get_metadata(PRINCIPAL) is None:
            self._source.drop_planted(keep)
        elif draft.get_metadata(PRINCIPAL) != principal:
            draft.flush()
        draft.set_metadata(PRINCIPAL, principal)
        draft.cycling = "login"

    def cycle_id(self) -> None:
        """Give the session a new id at the commit; the old one is dead at once.

        What other requests under way store is merged into the session under its new id.
        """
        draft = self._write()
        self._require_cookie("a new session id")
        draft.cycling = draft.cycling or "cycle"

    def flush(self) -> None:
        """Log out: destroy the record and everything in it, and expire the cookie.

        A save that another request has under way cannot bring it back. A session that was given
        another id within the last minute ends under that. What is stored after this begins a new,
        anonymous session. Done at the commit, also if the response is an error.
        """
        self._write().flush()

    def remember(self, lifetime: timedelta | float | datetime | None) -> None:
        """Keep this session for `lifetime` (seconds) of idleness, and its cookie as long; a
        datetime: until that moment, however it is used.

        None: back to the configured idle lifetime and a cookie that ends with the browser. The
        absolute lifetime is the limit in any case. It begins no session: what is stored beside it
        does. Raises ValueError for less than a second, and for a moment without a time zone.
        """
        draft = self._write()
        self._require_cookie("a longer cookie")
        draft.set_metadata(LIFETIME, None if lifetime is None else checked(lifetime))

    def keep_alive(self, wanted: bool = True) -> None:  # noqa: FBT001, FBT002 - reads as a sentence
        """Have this session refreshed in the background, or no longer.

        See `Refresher`: the hook is called soon, and then once per interval, while no
        request uses the session. That does not prolong the session. Raises TypeError for any
        value but True and False.
        """
        if not isinstance(wanted, bool):  # "off" would be true
            raise TypeError(f"keep_alive takes True or False, not {type(wanted).__name__}")
        self._write().set_metadata(KEEP_ALIVE, True if wanted else None)

    # -- facts ---------------------------------------------------------------------------------

    @property
    def principal(self) -> str | int | None:
        """Who the session is bound to, or None."""
        value: str | int | None = self._read().get_metadata(PRINCIPAL)
        return value

    @property
    def lifetime(self) -> float | datetime | None:
        """What was asked for with `remember`: seconds of idleness, a moment, or None."""
        value: float | datetime | None = self._read().get_metadata(LIFETIME)
        return value

    @property
    def key(self) -> str | None:
        """What names the session in the store, in logs (by its first 10 digits) and for
        `destroy_sessions_of`; None if it is new. Nobody can log in with it. A new id brings a new
        key, once it is stored: with the response.
        """
        snapshot = self._read().snapshot
        return None if snapshot is None else snapshot.key

    @property
    def new(self) -> bool:
        """True while nothing is stored in this session."""
        return self._read().is_new()

    @property
    def created_at(self) -> float | None:
        """When the session was made (or last logged in), seconds since the epoch; None if new."""
        snapshot = self._read().snapshot
        return None if snapshot is None else snapshot.envelope.created_at

    @property
    def expires_at(self) -> float | None:
        """When the session expires if it stays idle, seconds since the epoch; None if new."""
        snapshot = self._read().snapshot
        return None if snapshot is None else snapshot.expires_at

    @property
    def is_repeated(self) -> bool:
        """Whether this request was stored before: the client has sent it again, within a minute and
        with the same retry token (the setting `retry_token_header`), for want of an answer.

        What it changes is not stored again, so do nothing elsewhere, either.
        """
        return self._read().is_repeated()

    @property
    def is_kept_alive(self) -> bool:
        """Whether `keep_alive` is on."""
        return bool(self._read().get_metadata(KEEP_ALIVE))

    @property
    def refreshed_at(self) -> float | None:
        """When it was last refreshed in the background, seconds since the epoch, or None."""
        value: float | None = self._read().get_metadata(REFRESHED)
        return value

    @property
    def accessed(self) -> bool:
        """Whether anything of the session was looked at, so that the response depends on it."""
        return self._source.is_accessed

    @property
    def modified(self) -> bool:
        """Whether there is something to commit."""
        return self._source.is_accessed and self._read().is_changed()

    # -- inside --------------------------------------------------------------------------------

    def _read(self) -> Draft:
        draft = self._draft
        if draft is None:
            draft = self._draft = self._source.draft()
        return draft

    def _write(self) -> Draft:
        draft = self._draft or self._read()
        if self._source.phase is _ENDED:
            raise HeadersAlreadySent("the request has ended: the session can no longer be changed")
        if draft.snapshot is None:
            if draft.fault is not None:
                raise draft.fault
            self._require_cookie("a new session")
        return draft

    def _decoding(self, action: Callable[..., Any], *args: Any) -> Any:
        """Call what may decode a stored value; one that is damaged is reported."""
        try:
            return action(*args)
        except CorruptRecord as error:
            self._source.damaged(error)
            raise

    def _require_cookie(self, what: str) -> None:
        if self._source.phase is not _OPEN:
            raise HeadersAlreadySent(
                f"{what} needs a cookie, but the response's headers have left: "
                "do it before the first body chunk"
            )
