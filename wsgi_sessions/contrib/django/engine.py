"""SessionStore: Django's interface to sessions, over a transaction of this package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError

from wsgi_sessions.contrib.django.expiry import is_over, lifetime_of
from wsgi_sessions.contrib.django.presented import Presented
from wsgi_sessions.contrib.django.site import site
from wsgi_sessions.contrib.mapping import PlainMapping, plain_key
from wsgi_sessions.core.draft import LIFETIME, PRINCIPAL
from wsgi_sessions.core.record.plain import encode_plain
from wsgi_sessions.core.source import Phase
from wsgi_sessions.core.transaction import Transaction
from wsgi_sessions.http.devices import label_device

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from wsgi_sessions.core.commit.results import Result
    from wsgi_sessions.core.draft import Draft
    from wsgi_sessions.core.merge.delta import Delta
    from wsgi_sessions.endings import EndReason, RefusalReason

USER_KEY = "_auth_user_id"
"""The key under which ``django.contrib.auth`` keeps the logged-in user."""
_NOT_STORED = ("gone", "superseded", "dropped")


class SessionStore(SessionBase):  # type: ignore[misc]  # Django has no annotations
    """A session as Django's views, middlewares and applications expect it::

        SESSION_ENGINE = "wsgi_sessions.contrib.django"

    Nothing is read before the first access. `save` merges changes with those of overlapping
    requests, also changes inside of a value, with or without ``modified``. `session_key` is final
    as soon as `save`, `create` or `cycle_key` returns, and an unknown key is never adopted. `save`
    raises UpdateError if the session has ended since, or a log-in has given it another key. The
    user of ``django.contrib.auth`` is its principal: a user's sessions can be listed and ended.

    Beside Django's own methods it has `increment`, `append`, `exclusive`, `label` and `lost`, like
    a `Session`.

    Raises `StoreUnavailable`, `SessionConflict` and the other errors of a `Session`.
    """

    _session_key: str | None

    def __init__(self, session_key: str | None = None) -> None:
        self._transaction: Transaction | None = None
        self._said = False
        self._settled: Delta | None = None
        self._is_gone = False
        self._is_loaded = False
        self._mapping: PlainMapping | None = None
        self.route = "django"  # the request's name in reports
        self.environ: Mapping[str, Any] = {}  # the request's
        super().__init__(session_key)

    def stand_on(self, transaction: Transaction) -> None:
        """Become the session of a request with a transaction. Nothing is read yet."""
        self._transaction, self._mapping = transaction, None

    @property
    def transaction(self) -> Transaction | None:
        """The transaction behind the session, once it was accessed."""
        return self._transaction

    # -- what it holds -------------------------------------------------------------------------

    def _get_session(self, no_load: bool = False) -> PlainMapping:  # noqa: ARG002, FBT001, FBT002 - Django's
        self.accessed = True
        return self._data()

    async def _aget_session(self, no_load: bool = False) -> PlainMapping:  # noqa: FBT001, FBT002 - Django's
        opened: PlainMapping = await sync_to_async(self._get_session)(no_load)
        return opened

    _session = property(_get_session)

    @property
    def _session_cache(self) -> PlainMapping:
        """The loaded session under the name that some code of Django uses."""
        if not self._is_loaded:
            raise AttributeError("the session is not loaded")
        return self._data()

    @property
    def modified(self) -> bool:
        """Whether there is something to save: it was set, or a value has changed.

        Set to False, all changes so far are ignored.
        """
        if self._said or self._transaction is None or not self._is_loaded:
            return self._said
        draft = self._transaction.draft()
        return draft.is_changed() and draft.data.delta() != self._settled

    @modified.setter
    def modified(self, value: bool) -> None:
        self._said = bool(value)
        if not value and self._transaction is not None and self._is_loaded:
            self._settled = self._transaction.draft().data.delta()

    def setdefault(self, key: str, value: Any) -> Any:
        """See `Session.setdefault`: changes in a list, dictionary or set merge."""
        data = self._get_session()
        self._said = self._said or key not in data
        return data.setdefault(key, value)

    def clear(self) -> None:
        """Remove all keys. The session and its key stay."""
        self._get_session().clear()
        self.modified = True

    def increment(self, key: str, by: float = 1) -> Any:
        """See `Session.increment`."""
        self.modified = True
        return self._opened().session.increment(plain_key(key), by)

    def append(self, key: str, value: Any) -> None:
        """See `Session.append`."""
        self.modified = True
        self._opened().session.append(plain_key(key), value)

    def exclusive(self, timeout: float | None = None) -> AbstractContextManager[None]:
        """See `Session.exclusive`."""
        return self._opened().session.exclusive(timeout)

    @property
    def label(self) -> str | None:
        """See `Session.label`."""
        return self._opened().session.label

    @label.setter
    def label(self, words: str | None) -> None:
        self.modified = True
        self._opened().session.label = words

    @property
    def lost(self) -> EndReason | RefusalReason | None:
        """See `Session.lost`. In a template a key of this name hides it."""
        self.accessed = True
        return self._opened().session.lost

    @property
    def store_key(self) -> str | None:
        """See `Session.key`; unlike `session_key`, it opens nothing."""
        return self._opened().session.key

    # -- the store -----------------------------------------------------------------------------

    def exists(self, session_key: str | None) -> bool:
        """Return whether there is a session with this key."""
        return self._look_up(session_key).snapshot is not None

    def load(self) -> dict[str, Any]:
        """Return the stored data as a dictionary; Django's own methods read the session lazily."""
        found = self._look_up(self._session_key)
        if found.snapshot is None:
            self._session_key = None
        return dict(found.session)

    def create(self) -> None:
        """Store a new session with the data of this one, under a new key."""
        self._create(dict(self._data()) if self._is_loaded else {})
        self.modified = True

    def save(self, must_create: bool = False) -> None:  # noqa: FBT001, FBT002 - Django's
        """Store the changes.

        A new session gets its key. Raises UpdateError if the stored session is gone; with
        `must_create`, CreateError if the key is taken.
        """
        if self._is_gone:
            raise UpdateError
        if must_create or self._session_key is None:
            if must_create and self.exists(self._session_key):
                raise CreateError
            self._create(dict(self._data()))
            return
        draft = self._opened().draft()
        if draft.fault is not None:
            raise draft.fault
        if draft.superseded is not None or draft.withheld is not None:
            raise UpdateError
        if draft.snapshot is None:
            self._create(dict(self._data()))
            return
        self._commit(draft)

    def delete(self, session_key: str | None = None) -> None:
        """End the session of this key, by default its own. Idempotent."""
        found = self._look_up(session_key or self._session_key)
        found.session.flush()
        found.commit()

    def flush(self) -> None:
        """End the session: its key is dead. Later changes begin a new one."""
        transaction = self._opened()
        transaction.session.flush()
        self._store()
        self._restart()

    def cycle_key(self) -> None:
        """Go on under a new key; the old one is dead at once, for overlapping requests too."""
        transaction = self._opened()
        draft = transaction.draft()
        if draft.snapshot is None or self._is_gone:
            self._create(dict(self._data()), "login")
        else:
            draft.cycling = "login"
            self._settle(draft)
            if self._store() in _NOT_STORED:  # it has ended since, with its data
                self._create({}, "login")
            self._session_key = transaction.session_id
        self.modified = True

    async def aflush(self) -> None:
        """Like `flush`."""
        await sync_to_async(self.flush)()

    async def acycle_key(self) -> None:
        """Like `cycle_key`."""
        await sync_to_async(self.cycle_key)()

    @classmethod
    def clear_expired(cls) -> None:
        """Delete expired records; a sweeper does so every few minutes."""
        site().clear_expired()

    # -- inside --------------------------------------------------------------------------------

    def _data(self) -> PlainMapping:
        data = self._mapping  # Django's middleware alone asks seven times for a change
        if data is None:
            data = self._mapping = PlainMapping(self._opened().session)
        return data

    def _opened(self) -> Transaction:
        """Return the transaction, with the session read."""
        transaction = self._transaction
        if transaction is None:
            transaction = self._transaction = _begin(self._session_key, self.route)
            name_device = site().name_device()
            if name_device is not None:
                label_device(transaction, self.environ, name_device)
        if not self._is_loaded:
            self._take(transaction)
        return transaction

    def _take(self, transaction: Transaction) -> None:
        """Read the session, and tell its key."""
        draft = transaction.draft()
        self._is_loaded = True
        draft.accept(encode_plain)
        if draft.snapshot is not None:
            key = transaction.session_id
            self._said = (
                self._said or key != self._session_key
            )  # taken over: its cookie has to go out
            self._session_key = key
        elif draft.superseded is None and draft.withheld is None and draft.fault is None:
            self._session_key = None

    def _look_up(self, session_key: str | None) -> Transaction:
        """Return a transaction of its own on the session with a key."""
        found = _begin(session_key, self.route)
        found.peek()
        return found

    def _commit(self, draft: Draft) -> None:
        transaction = self._opened()
        self._settle(draft)
        result = self._store()
        if result in _NOT_STORED or (
            result in ("unchanged", "touched") and not transaction.is_alive()
        ):
            self._is_gone = True
            raise UpdateError
        self._after_commit()

    def _create(self, values: dict[str, Any], why: Literal["login"] | None = None) -> None:
        """Store a new session of these values; a log-in gets one even in a full store."""
        transaction = self._opened()
        draft = transaction.draft()
        if draft.snapshot is not None or self._is_gone:
            draft.adopt(None)
            transaction.session.update(values)
        draft.superseded = draft.withheld = None
        draft.cycling = why
        self._settle(draft)
        draft.begin_empty()
        self._store()
        self._is_gone = False
        self._session_key = transaction.session_id
        self._after_commit()

    def _settle(self, draft: Draft) -> None:
        """Give the stored session the expiry and the user that Django says."""
        transaction = self._opened()
        lifetime = lifetime_of(self, site().sessions().config.idle_lifetime)
        if draft.get_metadata(LIFETIME) != lifetime:
            draft.set_metadata(LIFETIME, lifetime)
        user = transaction.session.get(USER_KEY)
        principal = str(user) if user else None
        if draft.get_metadata(PRINCIPAL) != principal:
            transaction.bind(principal)

    def _after_commit(self) -> None:
        self._settled = None
        if is_over(self):
            self.delete()

    def _store(self) -> Result:
        """Commit all changes; after the headers have left, those that need a cookie are dropped."""
        transaction = self._opened()
        return transaction.commit("open" if transaction.phase is Phase.OPEN else "closed")

    def _restart(self) -> None:
        self._session_key = None
        self._is_gone = False
        self._settled = None
        self.accessed = True
        self.modified = True


def _begin(session_key: str | None, route: str) -> Transaction:
    """Return a transaction on the session with a key, in the store of the site."""
    opened = site().sessions()
    opened.ensure_running()
    presented = Presented(session_key, site().adoption(), route)
    transaction = Transaction(opened.manager, presented)
    presented.follow(transaction)
    return transaction
