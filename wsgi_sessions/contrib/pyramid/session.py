"""What ``request.session`` is: Pyramid's ISession, over the `Session` of the request."""

from __future__ import annotations

import secrets
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from wsgi_sessions.clock import wall_clock
from wsgi_sessions.core.record.plain import encode_plain
from wsgi_sessions.core.values.timed_keys import timed_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from wsgi_sessions.core.session import Session
    from wsgi_sessions.core.transaction import Transaction

_FLASHES = "_f_"
_CSRF = "_csrft_"


class PyramidSession(MutableMapping[str, Any]):
    """The `Session` of a request as Pyramid's applications and add-ons expect it (ISession).

    What is changed inside of a value is found, so that `changed` has nothing to do. Flash messages
    of overlapping requests are all shown, once. Beside Pyramid's methods it has `increment`,
    `append`, `exclusive` and `cycle_id`, as a `Session` does. Values of a subclass are stored as
    the plain value that they equal.
    """

    def __init__(self, transaction: Transaction) -> None:
        self._session: Session = transaction.session
        transaction.when_loaded(lambda: transaction.draft().accept(encode_plain))

    def __getitem__(self, key: str) -> Any:
        return self._session[key]

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, or `default`."""
        return self._session.get(key, default)

    def __setitem__(self, key: str, value: Any) -> None:
        self._session[key] = value

    def setdefault(self, key: str, default: Any = None) -> Any:
        """See `Session.setdefault`."""
        return self._session.setdefault(key, default)

    def __delitem__(self, key: str) -> None:
        del self._session[key]

    def __contains__(self, key: object) -> bool:
        return key in self._session

    def __iter__(self) -> Iterator[str]:
        return iter(self._session)

    def __len__(self) -> int:
        return len(self._session)

    def clear(self) -> None:
        """Remove all keys. The session stays."""
        self._session.clear()

    def __repr__(self) -> str:
        return f"<Pyramid{repr(self._session)[1:]}"  # no values: a repr ends in logs

    # -- of Pyramid ----------------------------------------------------------------------------

    @property
    def created(self) -> int:
        """When the session was made, or last logged in: seconds since the epoch."""
        created_at = self._session.created_at
        return int(wall_clock() if created_at is None else created_at)

    @property
    def new(self) -> bool:
        """Whether nothing is stored in it yet."""
        return self._session.new

    def invalidate(self) -> None:
        """End the session: its id is dead. What is stored after this begins a new one."""
        self._session.flush()

    def changed(self) -> None:
        """Say that a value was changed in place, which is found without this too."""

    def flash(
        self,
        msg: object,
        queue: str = "",
        allow_duplicate: bool = True,  # noqa: FBT001, FBT002 - Pyramid's
    ) -> None:
        """Add a message to a queue, unless it is there and no duplicate is allowed."""
        box = self._session.setdefault(_FLASHES + queue, {})
        if allow_duplicate or msg not in box.values():
            box[timed_key(box)] = msg

    def peek_flash(self, queue: str = "") -> list[Any]:
        """The messages of a queue, oldest first; they stay."""
        kept = self._session.get(_FLASHES + queue, {})
        return list(kept) if isinstance(kept, list) else [kept[key] for key in sorted(kept)]

    def pop_flash(self, queue: str = "") -> list[Any]:
        """The messages of a queue, oldest first, which are then gone; others' that come meanwhile
        stay."""
        messages = self.peek_flash(queue)
        kept = self._session.get(_FLASHES + queue)
        if isinstance(kept, list):  # of another session factory
            del self._session[_FLASHES + queue]
        elif kept:
            kept.clear()
        return messages

    def new_csrf_token(self) -> str:
        """Make another CSRF token, as sessions did before Pyramid 1.9."""
        token = secrets.token_hex(16)
        self._session[_CSRF] = token
        return token

    def get_csrf_token(self) -> str:
        """The CSRF token, made at the first call."""
        token = self._session.get(_CSRF)
        return token if isinstance(token, str) else self.new_csrf_token()

    # -- of this package -----------------------------------------------------------------------

    def increment(self, key: str, by: float = 1) -> Any:
        """See `Session.increment`."""
        return self._session.increment(key, by)

    def append(self, key: str, value: Any) -> None:
        """See `Session.append`."""
        self._session.append(key, value)

    def exclusive(self, timeout: float | None = None) -> AbstractContextManager[None]:
        """See `Session.exclusive`."""
        return self._session.exclusive(timeout)

    def cycle_id(self) -> None:
        """See `Session.cycle_id`."""
        self._session.cycle_id()
