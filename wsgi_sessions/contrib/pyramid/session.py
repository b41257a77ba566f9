"""PyramidSession: Pyramid's ISession, over the transaction of a request."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from pyramid.interfaces import ISession
from zope.interface import classImplements

from wsgi_sessions.clock import wall_clock
from wsgi_sessions.contrib.mapping import PlainMapping, plain_key
from wsgi_sessions.core.draft import PRINCIPAL
from wsgi_sessions.core.record.plain import encode_plain
from wsgi_sessions.core.values.timed_keys import timed_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from decimal import Decimal

    from wsgi_sessions.core.transaction import Transaction
    from wsgi_sessions.endings import EndReason, RefusalReason

_FLASH = "_f_"
_CSRF = "_csrft_"
_ABSENT: Any = object()


class PyramidSession(PlainMapping):
    """The session of a request, as Pyramid's views and extensions expect it.

    It reads and writes the same session as ``wsgi_sessions.get_session(request.environ)``. Changes
    inside of a value are found, so that `changed` need not be called, and merge with those of
    overlapping requests. Values of a subclass (a translation string, an OrderedDict) are stored as
    the plain value that they equal.

    A log-in by ``remember`` of Pyramid's SessionAuthenticationHelper gives the session a new id; a
    log-out by ``forget`` ends it, even if the request fails, and only what the request itself puts
    in goes on under another id.

    Raises `StoreUnavailable` and the other errors of a `Session`.
    """

    __slots__ = ("_transaction",)

    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction.session)
        self._transaction = transaction
        transaction.when_loaded(lambda: transaction.draft().accept(encode_plain))

    # -- the mapping ---------------------------------------------------------------------------

    def __getitem__(self, key: object) -> Any:
        value = self.get(key, _ABSENT)
        if value is _ABSENT:
            raise KeyError(key)
        return value

    def get(self, key: object, default: Any = None) -> Any:
        """Return the value of a key, or `default`; a list for a queue of messages."""
        name = plain_key(key)
        value = self._session.get(name, default)
        if type(value) is dict and name.startswith(_FLASH):
            return _messages_in(value) or default
        return value

    def __contains__(self, key: object) -> bool:
        name = plain_key(key)
        if name not in self._session:
            return False
        return not str(name).startswith(_FLASH) or self.get(name, _ABSENT) is not _ABSENT

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._session if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __delitem__(self, key: object) -> None:
        super().__delitem__(key)
        if plain_key(key) == self._transaction.manager.identity.principal_key and self._is_bound():
            self._transaction.draft().restart()

    def clear(self) -> None:
        """Remove all keys; where a user is logged in, that is a log-out: see `invalidate`."""
        if self._is_bound():
            self.invalidate()
        else:
            super().clear()

    # -- ISession ------------------------------------------------------------------------------

    @property
    def created(self) -> int:
        """The time of creation, or of the last log-in, in seconds since the epoch."""
        moment = self._session.created_at
        return int(wall_clock() if moment is None else moment)

    @property
    def new(self) -> bool:
        """Whether nothing of it is stored yet."""
        return self._session.new

    def invalidate(self) -> None:
        """End the session, even if the request fails: its id is dead.

        Anything that is put in after this begins a new session.
        """
        self._session.flush()

    def changed(self) -> None:
        """Do nothing: changes inside of values are found without being told of."""

    def flash(self, msg: Any, queue: str = "", allow_duplicate: bool = True) -> None:  # noqa: FBT001, FBT002 - Pyramid's
        """Add a message to a queue. Those of overlapping requests all stay."""
        if not allow_duplicate and msg in self.peek_flash(queue):
            return
        name = _FLASH + plain_key(queue)
        kept = self._session.get(name)
        if isinstance(kept, list):  # assigned by the application, or imported
            self._session.append(name, msg)
            return
        box = self._session.setdefault(name, {})
        box[timed_key(box)] = msg

    def pop_flash(self, queue: str = "") -> list[Any]:
        """Return the messages of a queue, and remove these from it.

        A message that an overlapping request adds stays. Two requests that overlap may both get a
        message.
        """
        name = _FLASH + plain_key(queue)
        kept = self._session.get(name)
        if not isinstance(kept, dict):
            return list(self._session.pop(name, ()))
        messages = _messages_in(kept)
        kept.clear()
        return messages

    def peek_flash(self, queue: str = "") -> list[Any]:
        """Return the messages of a queue, which stay there."""
        return list(self.get(_FLASH + plain_key(queue), ()))

    def new_csrf_token(self) -> str:
        """Return another CSRF token, which takes the place of the session's present one."""
        token = secrets.token_hex(20)
        self[_CSRF] = token
        return token

    def get_csrf_token(self) -> str:
        """Return the CSRF token of the session, made at the first call."""
        token: str | None = self.get(_CSRF)
        return self.new_csrf_token() if token is None else token

    # -- more than Pyramid asks for --------------------------------------------------------------

    def increment(self, key: str, by: int | float | Decimal = 1) -> Any:
        """See `Session.increment`."""
        return self._session.increment(plain_key(key), by)

    def append(self, key: str, value: Any) -> None:
        """See `Session.append`."""
        self._session.append(plain_key(key), value)

    def exclusive(self, timeout: float | None = None) -> AbstractContextManager[None]:
        """See `Session.exclusive`."""
        return self._session.exclusive(timeout)

    @property
    def label(self) -> str | None:
        """See `Session.label`."""
        return self._session.label

    @label.setter
    def label(self, words: str | None) -> None:
        self._session.label = words

    @property
    def lost(self) -> EndReason | RefusalReason | None:
        """See `Session.lost`."""
        return self._session.lost

    @property
    def key(self) -> str | None:
        """See `Session.key`."""
        return self._session.key

    def cycle_id(self) -> None:
        """See `Session.cycle_id`."""
        self._session.cycle_id()

    def _is_bound(self) -> bool:
        return self._transaction.draft().get_metadata(PRINCIPAL) is not None


def _messages_in(box: dict[str, Any]) -> list[Any]:
    return [box[name] for name in sorted(box)]


classImplements(PyramidSession, ISession)
