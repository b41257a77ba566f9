"""One request's transaction on one session: load lazily, change freely, commit once. No WSGI."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from wsgi_sessions import texts
from wsgi_sessions.core.commit.results import ID_CHANGES
from wsgi_sessions.core.draft import Draft, Snapshot
from wsgi_sessions.core.exclusive import exclusive_block, hold_until_commit, read_afresh, taken
from wsgi_sessions.core.interim import store_what_needs_no_cookie
from wsgi_sessions.core.principals import bind
from wsgi_sessions.core.record.tombstones import Tombstone
from wsgi_sessions.core.session import Session
from wsgi_sessions.core.source import Phase
from wsgi_sessions.errors import (
    CorruptRecord,
    HeadersAlreadySent,
    SessionError,
    SessionSuperseded,
    StoreUnavailable,
)
from wsgi_sessions.identity import store_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from wsgi_sessions.core.commit.loop import Activity
    from wsgi_sessions.core.commit.results import Result
    from wsgi_sessions.core.draft import HeadersState
    from wsgi_sessions.core.loading import ReadRecord
    from wsgi_sessions.core.manager import SessionManager
    from wsgi_sessions.core.source import Request
    from wsgi_sessions.core.turn import Turn
    from wsgi_sessions.endings import EndReason, RefusalReason

Renewal = Literal["due", "always", "on change"]

_OPEN, _ENDED = Phase.OPEN, Phase.ENDED  # see `session._ENDED`


@texts.shows()
class Transaction(Struct, eq=False, weakref=True):
    """A request's `session`, and the means to end it.

    An id that is unknown to the store is never adopted (session fixation). With "exclusive" access
    the transaction is one `exclusive` block from the first access to the commit that goes with the
    headers (or to `close`); later changes of the response are merged, as with "shared" access.
    `is_accessed`: the session was read. `found_none`: the store had none. `fault`: why it could not
    be read, or None. `missing`: the store key that its cookie presents, but no session has.

    `did` is what its commits did: "created" if one of them began the session, else the last that
    was not "unchanged". `moved` is the last that gave or took an id. `turn` is the request's, once
    it asked; `before_commit` holds the callbacks of `when_committing`.

    `renewal` says when expiry and cookie are renewed: "due" (by changes, and by reading once in 5 %
    of the idle lifetime), "always" (the cookie in each response) or "on change".

    Other middlewares of the request join in before the first access: `reader` reads the record, and
    may be replaced by one that does more in the same round trip; `when_loaded`, `when_committing`,
    `when_committed` and `when_closed` take callbacks for these moments.
    """

    manager: SessionManager
    request: Request
    _reader: ReadRecord | None = None
    _draft: Draft | None = None
    activity: Activity = "user"
    turn: Turn | None = None
    _exits: ExitStack | None = None
    _after_load: tuple[Callable[[], object], ...] = ()
    before_commit: tuple[Callable[[], object], ...] = ()
    _after_commit: tuple[Callable[[], object], ...] = ()
    is_accessed: bool = False
    found_none: bool = False
    missing: str | None = None
    phase: Phase = _OPEN
    renewal: Renewal = "due"
    did: Result = "unchanged"
    moved: Result | None = None
    fault: StoreUnavailable | CorruptRecord | None = None

    @property
    def session(self) -> Session:
        """The session, as an application sees it: a new object each time, its state is here."""
        return Session(self)

    @property
    def reader(self) -> ReadRecord:
        """The reader of the record: the store's own `load`, unless another one replaced it."""
        return self._reader or self.manager.backend.sessions.load

    @reader.setter
    def reader(self, reader: ReadRecord) -> None:
        self._reader = reader

    def draft(self) -> Draft:
        """Return the session's draft; read from the store at the first call."""
        try:
            draft = self.peek()
        except (StoreUnavailable, CorruptRecord) as error:
            self.give_up(error)
            raise
        if not self.is_accessed and draft.fault is None:
            self.is_accessed = True
            for callback in self._after_load:
                callback()
        return draft

    def peek(self) -> Draft:
        """Like `draft`, without counting as an access or running callbacks."""
        if self._draft is None:
            try:
                found = self._load()
            except (StoreUnavailable, CorruptRecord) as error:
                self.fault = error
                raise
            self.found_none = found is None
            if type(found) is Tombstone:  # isinstance is slow with these
                self._draft = Draft(None, found)
            else:
                self._draft = Draft(found)  # type: ignore[arg-type]
        return self._draft

    def give_up(self, error: SessionError) -> None:
        """Read as empty from now on, and raise `error` at every write."""
        if self._draft is None:
            self._draft = Draft(None)
        self._draft.give_up(error)

    @property
    def has_failed(self) -> bool:
        """Whether the transaction gave up."""
        return self._draft is not None and self._draft.fault is not None

    def when_loaded(self, callback: Callable[[], object]) -> None:
        """Run `callback` once, at the first access; it may use the session and change it.

        After the first access, it runs at once.
        """
        if self.is_accessed:
            callback()
        else:
            self._after_load += (callback,)

    def when_committing(self, callback: Callable[[], object]) -> None:
        """Run `callback` before each commit, also of an exclusive block: to see the changes."""
        self.before_commit += (callback,)

    def when_committed(self, callback: Callable[[], object]) -> None:
        """Run `callback` after each commit that did not raise; `snapshot` is then up to date."""
        self._after_commit += (callback,)

    def when_closed(self, callback: Callable[[], object]) -> None:
        """Run `callback` at the end, after success and failure; the last one given runs first."""
        if self._exits is None:
            self._exits = ExitStack()
        self._exits.callback(callback)

    def commit(self, headers: HeadersState = "open") -> Result:
        """Store the changes; again for later ones. Raises as `SessionManager.commit`."""
        if self._draft is None:
            return "unchanged"
        for callback in self.before_commit:
            callback()
        activity = self.activity
        if self.renewal == "on change" and not self._draft.is_changed():
            activity = "background"
        turn = self.turn
        if turn is not None:
            self._draft.fence = turn.fence
        try:
            result = self.manager.commit(self._draft, self.request.route, headers, activity)
        except Exception as error:
            meter = self.manager.events.meter
            if meter is not None:
                meter.commit_failed(error)
            raise
        finally:
            if turn is not None:
                turn.end()
        if result != "unchanged":
            self.note(result)
        for callback in self._after_commit:
            callback()
        return result

    def note(self, result: Result) -> None:
        """Keep what a commit did in `did`, and count it."""
        self.did = "created" if self.did == "created" else result
        self.moved = result if result in ID_CHANGES else self.moved
        meter = self.manager.events.meter
        if meter is not None:
            meter.commit(result)

    def catch_up(self) -> None:
        """Read the session afresh and put the changes on top. Raises as `exclusive`."""
        draft = self.draft()
        if draft.snapshot is not None:
            read_afresh(self, draft, draft.snapshot)

    def drop_planted(self, keep: Iterable[str]) -> None:
        """See `IdentityRules.drop_planted`."""
        self.manager.identity.drop_planted(self.draft(), keep)

    def owner(self) -> str | int | None:
        """See `IdentityRules.owner`."""
        return self.manager.identity.owner(self.draft())

    def damaged(self, error: CorruptRecord) -> None:
        """Note that a value of the session does not decode: the next request begins without it."""
        self.fault = error
        if self.snapshot is not None:
            self.manager.loader.set_aside(self.snapshot, error.reason)

    def roll_back(self, reason: str | None = None) -> bool:
        """Store nothing but a log-out; return whether there was one. `reason`: report changes."""
        if self._draft is None:
            return False
        if reason is not None and not self._draft.is_flushed and self._draft.may_be_changed():
            self.manager.drop(reason, self._draft, self.snapshot, self.request.route())
        self._draft.adopt(self._draft.snapshot)
        try:
            is_destroyed = self.manager.destroy_doomed(self._draft, self.request.route)
        finally:
            if self.turn is not None:
                self.turn.end()
        if is_destroyed:
            self.note("destroyed")
        return is_destroyed

    def is_alive(self) -> bool:
        """Ask the store whether the session is stored under this very id."""
        snapshot = self.snapshot
        return snapshot is not None and self.manager.loader.is_alive(snapshot)

    def close(self) -> None:
        """End the transaction: nothing is committed any more, and all that it held is free."""
        self.phase = _ENDED
        try:
            if self._exits is not None:
                self._exits.close()
        finally:
            # The callbacks refer back to this object. A reference cycle stays until the garbage
            # collector runs, which costs each request a tenth of its time.
            if self.before_commit or self._after_load or self._after_commit or self._reader:
                self.before_commit = self._after_load = self._after_commit = ()
                self._exits = self._reader = None

    @property
    def snapshot(self) -> Snapshot | None:
        """The stored session that the transaction is based on now."""
        return None if self._draft is None else self._draft.snapshot

    @property
    def session_id(self) -> str | None:
        """The id of `snapshot` for the client; None if there is none, or another client gets it."""
        return self.snapshot.session_id or None if self.snapshot else None

    def discard(self) -> None:
        """Forget the changes since the last commit, even a log-out: for another attempt."""
        self.draft().discard()

    def create(self) -> Result:
        """Commit, and store the session if it is new, even if it is empty."""
        self.draft().begin_empty()
        return self.commit()

    def bind(self, principal: str | int | None) -> None:
        """Bind the session to a principal under its present id, from the next commit on.

        For frameworks that give it a new id on their own; all other callers use `Session.login`.
        """
        bind(self, principal)

    def withhold(self) -> None:
        """Make the request anonymous at its first access: it may log a user in or out, no more."""
        self.draft().withhold()

    @property
    def is_withheld(self) -> bool:
        """Whether the session is withheld, and the request logged no user in or out."""
        draft = self._draft
        return draft is not None and draft.withheld is not None

    @property
    def had_session(self) -> bool:
        """Whether the store had a session for the request: the present one, or an ended one."""
        draft = self._draft
        return draft is not None and (draft.snapshot is not None or bool(draft.doomed))

    @property
    def is_superseded(self) -> bool:
        """Whether a log-in replaced the request's session, and it has none of its own."""
        draft = self._draft
        return draft is not None and draft.superseded is not None and draft.snapshot is None

    def exclusive(self, timeout: float | None) -> AbstractContextManager[None]:
        """See `Session.exclusive`."""
        return exclusive_block(self, timeout)

    def hold(self) -> None:
        """Keep other holders out until the commit, and read afresh: `wsgi_sessions.exclusive`."""
        hold_until_commit(self)

    def store(self) -> None:
        """See `Session.commit`."""
        self.require_life("there is nothing left to commit")
        if self.turn is not None and self.turn.blocks:
            raise RuntimeError("commit() in an exclusive block: leaving the block commits")
        draft = self.draft()
        if draft.fault is not None:
            raise draft.fault
        store_what_needs_no_cookie(self, draft)

    def require_life(self, otherwise: str) -> None:
        """Raise HeadersAlreadySent if the request has ended."""
        if self.phase is _ENDED:
            raise HeadersAlreadySent(f"the request has ended: {otherwise}")

    def miss(self, key: str) -> None:
        """Note that the session of the presented cookie is not there; see `Losses.of`."""
        self.missing = key
        self.manager.endings.refusals.note(key, self.request.route())

    def why_lost(self) -> EndReason | RefusalReason | None:
        """See `Session.lost`."""
        self.draft()
        return None if self.missing is None else self.manager.endings.losses.of(self.missing).why

    def _load(self) -> Snapshot | Tombstone | None:
        try:
            session_id = self.request.session_id()
        except SessionSuperseded as error:
            return error.tombstone
        if session_id is None:
            return None
        found = self.manager.loader.open(session_id, self._reader)
        if type(found) is not Snapshot:
            self.miss(store_key(session_id))
            return found
        # After the headers have left, a client may take any time to read: no turn.
        if self.phase is not _OPEN or self.request.access() != "exclusive":
            return found
        with taken(self, found):  # the record names the mutex
            return self.manager.loader.open(session_id)
