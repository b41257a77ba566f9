"""PlainMapping: a mapping over a `Session` with a framework's keys, for the adapters."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.core.session import Session


class PlainMapping(MutableMapping[str, Any]):
    """A `Session` whose keys may be of a subclass: SafeString, a member of TextChoices.

    A number is a key under its text, as the JSON of Django and Pyramid makes it.
    """

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def __getitem__(self, key: object) -> Any:
        return self._session[plain_key(key)]

    def get(self, key: object, default: Any = None) -> Any:
        """Return the value of a key, or `default`."""
        return self._session.get(plain_key(key), default)

    def __setitem__(self, key: object, value: Any) -> None:
        self._session[plain_key(key)] = value

    def setdefault(self, key: object, default: Any = None) -> Any:
        """See `Session.setdefault`."""
        return self._session.setdefault(plain_key(key), default)

    def __delitem__(self, key: object) -> None:
        del self._session[plain_key(key)]

    def __contains__(self, key: object) -> bool:
        return plain_key(key) in self._session

    def __iter__(self) -> Iterator[str]:
        return iter(self._session)

    def __len__(self) -> int:
        return len(self._session)

    def clear(self) -> None:
        """Remove all keys. The session stays."""
        self._session.clear()

    def __repr__(self) -> str:
        return repr(self._session)  # no values: a repr ends up in logs


def plain_key(key: object) -> Any:
    """Return a key as it is stored; anything that cannot be one stays as it is, to be refused."""
    if type(key) is str:
        return key
    if isinstance(key, str):
        return str.__str__(key)
    return str(int(key)) if isinstance(key, int) and not isinstance(key, bool) else key
