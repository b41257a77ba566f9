"""One request's transaction on one session: load lazily, change freely, commit once. No WSGI."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Literal, Protocol

from wsgi_sessions import texts
from wsgi_sessions.draft import Draft
from wsgi_sessions.errors import (
    CorruptRecord,
    HeadersAlreadySent,
    SessionGone,
    StoreUnavailable,
)
from wsgi_sessions.identity import store_key
from wsgi_sessions.manager import NO_COOKIE
from wsgi_sessions.session import Phase, Session
from wsgi_sessions.tombstones import Tombstone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from wsgi_sessions.commit import Activity
    from wsgi_sessions.draft import Checkpoint, Headers, Snapshot
    from wsgi_sessions.loading import Reader
    from wsgi_sessions.manager import Result, SessionManager

Access = Literal["shared", "exclusive"]
Renewal = Literal["due", "always", "on change"]
NOT_SAVED = "the application did not save it"

_OPEN, _ENDED = Phase.OPEN, Phase.ENDED  # see `session._ENDED`
_log = texts.log("wsgi_sessions.transaction")


class Request(Protocol):
    """What a transaction needs to know of the request that it is for, asked when it is needed."""

    def session_id(self) -> str | None:
        """The (verified) id that the request presents; asked at the first access, once."""

    def route(self) -> str:
        """What names the request in reports, such as ``POST /cart``."""

    def access(self) -> Access:
        """Whether the session is shared with overlapping requests; asked at the first access."""


class Transaction:
    """A request's `session`, and the means to end it.

    An id that is unknown to the store is never adopted (session fixation). With "exclusive" access
    the transaction is one `exclusive` block from the first access to the commit that goes with the
    headers (or to `close`); what a response changes later is merged, as with "shared" access.
    `is_accessed` tells whether anybody has read the session, `fault` is what kept it from being
    read, if anything did.

    `kept` is the session's mutex, if it is held until the commit; see `let_go`.

    `renewal` says when expiry and cookie are renewed: "due" (by changes, and by reading once in 5 %
    of the idle lifetime), "always" (the cookie in each response) or "on change".

    Other middlewares of the request join in before the first access: `reader` reads the record,
    and may be replaced by one that does more in the same round trip; `when_loaded`,
    `when_committing`, `when_committed` and `when_closed` run what they are given at these moments.
    """

    __slots__ = (
        "__weakref__",
        "_activity",
        "_after_commit",
        "_after_load",
        "_before_commit",
        "_draft",
        "_exits",
        "_held",
        "_manager",
        "_reader",
        "_request",
        "fault",
        "is_accessed",
        "kept",
        "phase",
        "renewal",
    )

    def __init__(self, manager: SessionManager, request: Request) -> None:
        self._manager = manager
        self._request = request
        self._reader: Reader | None = None
        self._draft: Draft | None = None
        self._activity: Activity = "user"
        self._held = False
        self.kept: ExitStack | None = None
        self._exits: ExitStack | None = None
        self._after_load: tuple[Callable[[], object], ...] = ()
        self._before_commit: tuple[Callable[[], object], ...] = ()
        self._after_commit: tuple[Callable[[], object], ...] = ()
        self.is_accessed = False
        self.phase = _OPEN
        self.renewal: Renewal = "due"
        self.fault: StoreUnavailable | CorruptRecord | None = None

    @property
    def request(self) -> Request:
        """What it was made for."""
        return self._request

    @property
    def session(self) -> Session:
        """The session, as an application sees it. One is like another: all is kept here."""
        return Session(self)

    @classmethod
    def in_background(
        cls, manager: SessionManager, request: Request, snapshot: Snapshot
    ) -> Transaction:
        """A transaction without a response, on a session that has been loaded.

        No lifetime moves at its commit, and what would need a cookie raises `HeadersAlreadySent`.
        """
        transaction = cls(manager, request)
        transaction._draft = Draft(snapshot)
        transaction._activity = "background"
        transaction.phase = Phase.HEADERS_SENT
        return transaction

    @property
    def reader(self) -> Reader:
        """What reads the record: the store's own `load`, unless another was put in its place."""
        return self._reader or self._manager.backend.sessions.load

    @reader.setter
    def reader(self, reader: Reader) -> None:
        self._reader = reader

    def draft(self) -> Draft:
        """What the session stands on; read from the store at the first call."""
        draft = self.peek()
        if not self.is_accessed:
            self.is_accessed = True
            for callback in self._after_load:
                callback()
        return draft

    def peek(self) -> Draft:
        """The same, but to look at the stored session is no access: nothing is set off by it."""
        if self._draft is None:
            try:
                found = self._load()
            except (StoreUnavailable, CorruptRecord) as error:
                self.fault = error
                raise
            if isinstance(found, Tombstone):
                self._draft = Draft(None, superseded=found)
            else:
                self._draft = Draft(found)
        return self._draft

    def when_loaded(self, callback: Callable[[], object]) -> None:
        """Run `callback` once, at the first access; it may use the session, changes too.

        At once, if that is over.
        """
        if self.is_accessed:
            callback()
        else:
            self._after_load += (callback,)

    def when_committing(self, callback: Callable[[], object]) -> None:
        """Run `callback` before each commit, also of an exclusive block: to see what changed."""
        self._before_commit += (callback,)

    def when_committed(self, callback: Callable[[], object]) -> None:
        """Run `callback` after each commit that did not raise; `snapshot` is then up to date."""
        self._after_commit += (callback,)

    def when_closed(self, callback: Callable[[], object]) -> None:
        """Run `callback` at the end, however the request went; the last one given runs first."""
        if self._exits is None:
            self._exits = ExitStack()
        self._exits.callback(callback)

    def commit(self, headers: Headers = "open") -> Result:
        """Store what was changed. Raises what `SessionManager.commit` raises.

        May be called again, for what was changed since.
        """
        if self._draft is None:
            return "unchanged"
        for callback in self._before_commit:
            callback()
        activity = self._activity
        if self.renewal == "on change" and not self._draft.is_changed():
            activity = "background"
        try:
            result = self._manager.commit(self._draft, self._request.route, headers, activity)
        finally:
            self.let_go()
        for callback in self._after_commit:
            callback()
        return result

    def catch_up(self) -> None:
        """Read the session afresh; what was changed is put on top. Raises as `exclusive` does."""
        draft = self.draft()
        if draft.snapshot is not None:
            self._refresh(draft, draft.snapshot)

    def drop_planted(self, keep: Iterable[str]) -> None:
        """See `IdentityRules.drop_planted`."""
        self._manager.identity.drop_planted(self.draft(), keep)

    def damaged(self, error: CorruptRecord) -> None:
        """A value of the session does not decode: the next request begins without it."""
        self.fault = error
        if self.snapshot is not None:
            self._manager.loader.set_aside(self.snapshot, error.reason)

    def roll_back(self) -> bool:
        """Store nothing, but let a log-out take place: whether there was one."""
        if self._draft is None:
            return False
        self._draft.adopt(self._draft.snapshot)
        try:
            return self._manager.destroy_doomed(self._draft)
        finally:
            self.let_go()

    def let_go(self) -> None:
        """Free the session's mutex, if this request still holds it for its commit."""
        if self.kept is not None:
            self.kept.close()

    def withdraw(self) -> bool:
        """The same, where the application wants it so: what it had changed is reported."""
        if self._draft is not None and self._draft.is_changed() and not self._draft.is_flushed:
            self._manager.drop(NOT_SAVED, self._draft, self.snapshot, self._request.route())
        return self.roll_back()

    def is_alive(self) -> bool:
        """Whether the session is stored under this very id, by a look at the store."""
        snapshot = self.snapshot
        return snapshot is not None and self._manager.loader.is_alive(snapshot)

    def close(self) -> None:
        """End the transaction: nothing is committed any more, and what was held is free."""
        self.phase = _ENDED
        try:
            if self._exits is not None:
                self._exits.close()
        finally:
            # Those who joined in lead back here. Objects in a circle stay until the garbage
            # collector comes, which costs each request a tenth of its time.
            if self._before_commit or self._after_load or self._after_commit or self._reader:
                self._before_commit = self._after_load = self._after_commit = ()
                self._exits = self._reader = None

    @property
    def snapshot(self) -> Snapshot | None:
        """The stored session that the transaction stands on now."""
        return None if self._draft is None else self._draft.snapshot

    @contextmanager
    def exclusive(self, timeout: float | None) -> Iterator[None]:
        """See `Session.exclusive`."""
        draft = self.draft()
        if draft.snapshot is None:
            yield
            return
        with ExitStack() as lock:
            self._lock(lock, draft.snapshot.key, timeout)
            self._refresh(draft, draft.snapshot)
            checkpoint = draft.checkpoint()
            try:
                yield
                self._require_life()
                is_stored = self._commit_block(draft, checkpoint)
            except BaseException:
                draft.restore(checkpoint)
                raise
            if not is_stored:
                self._keep(lock.pop_all())

    def _load(self) -> Snapshot | Tombstone | None:
        session_id = self._request.session_id()
        if session_id is None:
            return None
        # Once the headers have left, nothing tells how long the client takes to read: no turn.
        if self.phase is not _OPEN or self._request.access() != "exclusive":
            return self._manager.loader.open(session_id, self._reader)
        with ExitStack() as lock:
            self._lock(lock, store_key(session_id), None)
            found = self._manager.loader.open(session_id, self._reader)
            self._keep(lock.pop_all())
            return found

    def _lock(self, lock: ExitStack, key: str, timeout: float | None) -> None:
        """Hold the session's mutex until `lock` is closed."""
        if not self._held:  # by an outer block, or by exclusive access
            lock.enter_context(self._manager.hold(key, timeout))
            self._held = True
            lock.callback(self._let_go)

    def _let_go(self) -> None:
        self._held = False

    def _keep(self, lock: ExitStack) -> None:
        """Hold on to a block's mutex: until the commit, or, if there is none, until the end."""
        if self.kept is None:
            self.kept = lock
            self.when_closed(lock.close)
        else:
            lock.close()

    def _refresh(self, draft: Draft, snapshot: Snapshot) -> None:
        fresh = self._manager.loader.reload(snapshot)
        if fresh is None:
            draft.is_gone = True  # the commit will meet the same, and report it
            return
        self._manager.rebase(draft, fresh, self._request.route())

    def _require_life(self) -> None:
        if self.phase is Phase.ENDED:  # another thread gave up on this one
            raise HeadersAlreadySent("the request has ended: an exclusive block came too late")

    def _commit_block(self, draft: Draft, checkpoint: Checkpoint) -> bool:
        """Store what a block has changed; whether that is done, and its mutex may be freed."""
        for callback in self._before_commit:
            callback()
        self._manager.destroy_at_once(draft)
        if self._manager.identity.changed(draft, self._activity):
            # The old id may have been planted: stored with the new one only, by the commit that
            # sends the cookie. The block lasts until then.
            if self.phase is _OPEN:
                return False
            route = self._request.route()
            self._manager.drop(NO_COOKIE, draft, draft.snapshot, route)
            draft.restore(checkpoint)
            return True
        try:
            self._manager.commit_data(draft, self._request.route(), self._activity)
        except SessionGone:
            _log.debug("an exclusive block ended on a session that is gone")
        return True
