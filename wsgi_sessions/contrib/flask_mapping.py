"""What ``flask.session`` is: Flask's mapping, over the `Session` of the request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask.sessions import SessionMixin
from markupsafe import Markup

from wsgi_sessions.draft import LIFETIME
from wsgi_sessions.errors import CorruptRecord, StoreUnavailable, UnserializableValue
from wsgi_sessions.session import Phase

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from decimal import Decimal

    from wsgi_sessions.middleware.session import Exchange
    from wsgi_sessions.transaction import Renewal, Transaction

_FLASKS_KEY = "_permanent"


class FlaskSession(SessionMixin):
    """The `Session` of a request as Flask's applications and extensions expect it.

    It reads and writes the same session as ``wsgi_sessions.get_session(request.environ)``, which
    has more to offer; `increment`, `append`, `exclusive`, `cycle_id` and `flush` are here too.

    As in Flask, `clear`, and removing the last key, end the session: its id is dead. A session that
    holds nothing but that it is `permanent` is not stored. Where Flask would flatten a subclass (a
    ``str`` enumeration, a lazy translation), assigning does the same.

    `lifetime`: of a permanent session, in seconds. `exchange`: set where nobody else commits.
    """

    def __init__(
        self,
        transaction: Transaction,
        lifetime: float,
        *,
        exchange: Exchange | None = None,
        permanent_by_default: object = False,
    ) -> None:
        self.exchange = exchange
        self._transaction = transaction
        self._session = transaction.session
        self._lifetime = lifetime
        self._begins_permanent = bool(permanent_by_default)
        self._permanent: bool | None = None
        self._modified: bool | None = None  # None: nobody said so
        self._version_read: int | None = None
        transaction.when_loaded(self._begin)
        transaction.when_committing(self._settle)

    # -- the mapping ---------------------------------------------------------------------------

    def __getitem__(self, key: str) -> Any:
        return self._session[key]

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, or `default`."""
        return self._session.get(key, default)

    def __setitem__(self, key: str, value: Any) -> None:
        try:
            self._session[key] = value
        except UnserializableValue:
            self._session[key] = _flat(value)
        self._changed()

    def __delitem__(self, key: str) -> None:
        del self._session[key]
        self._changed()

    def __contains__(self, key: object) -> bool:
        return key in self._session

    def __iter__(self) -> Iterator[str]:
        return iter(self._session)

    def __len__(self) -> int:
        return len(self._session)

    def clear(self) -> None:
        """End the session, as by `flush`; what is stored after this begins a new one."""
        self.flush()

    def __repr__(self) -> str:
        return f"<Flask{repr(self._session)[1:]}"

    # -- what Flask's sessions know about themselves ---------------------------------------------

    @property
    def permanent(self) -> bool:
        """Whether it outlives the browser, for PERMANENT_SESSION_LIFETIME of idleness."""
        if self._permanent is not None:
            return self._permanent
        session = self._session
        return session.lifetime is not None or (self._begins_permanent and session.new)

    @permanent.setter
    def permanent(self, value: bool) -> None:
        _ = self._session.new  # an access, so that the commit looks at it
        self._permanent = bool(value)
        self._changed()

    @property
    def new(self) -> bool:  # type: ignore[override]  # a constant in the mixin
        """True while nothing of this session is stored."""
        return self._session.new

    @property
    def accessed(self) -> bool:
        """Whether anything of it was read or written, so that the response depends on it."""
        return self._session.accessed

    @accessed.setter
    def accessed(self, value: bool) -> None:
        """Flask says so as soon as the session is named; what counts is that it was looked at."""

    @property
    def modified(self) -> bool:
        """Whether it was changed in this request, be it in place. False undoes what was changed so
        far; to set True is never needed."""
        if self._modified is not None:
            return self._modified
        session = self._session
        return session.modified or (session.accessed and self._version() != self._version_read)

    @modified.setter
    def modified(self, value: bool) -> None:
        self._modified = bool(value)

    # -- more than Flask has -----------------------------------------------------------------------

    def increment(self, key: str, by: int | float | Decimal = 1) -> Any:
        """See `Session.increment`."""
        self._changed()
        return self._session.increment(key, by)

    def append(self, key: str, value: Any) -> None:
        """See `Session.append`."""
        self._changed()
        self._session.append(key, value)

    def exclusive(self, timeout: float = 5.0) -> AbstractContextManager[None]:
        """See `Session.exclusive`."""
        return self._session.exclusive(timeout)

    def cycle_id(self) -> None:
        """See `Session.cycle_id`."""
        self._session.cycle_id()
        self._changed()

    def flush(self) -> None:
        """See `Session.flush`."""
        self._session.flush()
        self._permanent = None
        self._changed()

    # -- the end of the request --------------------------------------------------------------------

    def renew(self, renewal: Renewal) -> None:
        """Have a permanent session renewed: its cookie in each response, or on change only.

        To "always" renew, the session is read even if the request did not use it. If it cannot be
        read then, it is not renewed, and the response goes out all the same.
        """
        if renewal == "on change" and not self.accessed:
            return
        try:
            if self._transaction.peek().mark(LIFETIME) is None:
                return
        except (StoreUnavailable, CorruptRecord):
            return
        _ = self._session.lifetime  # an access: the response depends on it now
        self._transaction.renewal = renewal

    def check(self) -> None:
        """Raises UnserializableValue for what was put into a value that no session can hold.

        The commit would too, but outside of Flask, whose error handlers would not see it.
        """
        _ = self._session.modified

    def _settle(self) -> None:
        """Just before a commit: what Flask's rules make of the changes."""
        draft = self._transaction.draft()
        if self._modified is False:
            draft.adopt(draft.snapshot)
            return
        if self._was_emptied():
            self._transaction.catch_up()  # what another request has put in since stays
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
        if self._permanent is None and not (self._begins_permanent and session.new):
            return  # nobody said anything
        lifetime = self._lifetime if self.permanent else None
        if session.lifetime != lifetime:
            session.remember(lifetime)

    def _changed(self) -> None:
        """A change takes back that there is nothing to save."""
        if self._modified is False:
            self._modified = None

    def _version(self) -> int | None:
        snapshot = self._transaction.snapshot
        return None if snapshot is None else snapshot.version

    def _begin(self) -> None:
        """At the first access. A session that came from Flask's cookie, or from Flask-Session, has
        its permanence among its keys."""
        self._version_read = self._version()
        data = self._transaction.draft().data
        if data.has(_FLASKS_KEY) and self._transaction.phase is Phase.OPEN:
            if self._permanent is None and self._session[_FLASKS_KEY]:
                self._permanent = True
            del self._session[_FLASKS_KEY]


def _flat(value: Any) -> Any:
    """A value without subclasses, as Flask's own serializer would store it."""
    if hasattr(value, "__html__"):  # lazy translations among them
        return Markup(value.__html__())  # noqa: S704  # it says itself that it is HTML
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, (float, bytes)):
        return float(value) if isinstance(value, float) else bytes(value)
    if isinstance(value, dict):
        return {_flat(key): _flat(item) for key, item in value.items()}
    for sequence in (list, tuple, set, frozenset):
        if isinstance(value, sequence):
            return sequence(map(_flat, value))
    return value
