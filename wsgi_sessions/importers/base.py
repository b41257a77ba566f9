"""What an importer is made of: a cookie that names a foreign record, the records, and their format.

An importer reads what one other library wrote, in the application's former life. It stores
nothing: `wsgi_sessions.importers.adoption` decides what becomes of what it finds.

No name, payload or cookie of a foreign session may reach a log or a message: they are as good as
the session itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from wsgi_sessions import texts
from wsgi_sessions.core.record.codec import is_unicode
from wsgi_sessions.errors import ImportRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_sessions.http.cookies.session_cookie import CookiePolicy

MAX_COOKIE_BYTES = 4096
"""Longer values are no cookie of a browser: they are not looked at, so that none costs much."""

LATE_SAVES = 24 * 3600.0
"""Seconds after which no request is under way that had read a foreign record before it was moved,
here or in the former application, which may save it once more."""


@texts.shows("lifetime")
class Imported(NamedTuple):
    """What a foreign session held.

    `lifetime`: seconds of idleness for which its cookie was to last, or None if it was to end with
    the browser; as `Session.remember` takes it.
    """

    data: dict[str, Any]
    lifetime: float | None = None


class ForeignRecords(Protocol):
    """Where another library keeps its sessions, each under a name. Raises StoreUnavailable."""

    def load(self, name: str) -> bytes | None:
        """The payload, or None if there is none or it has expired."""

    def delete(self, name: str) -> None:
        """Remove the record. Idempotent."""

    def names(self) -> Iterator[str]:
        """The name of every record. Not a snapshot."""

    def expires_at(self, name: str) -> float | None:
        """When the record expires, in seconds since the epoch; None: never, or it has."""

    def close(self) -> None:
        """Close what is open. It may be used again."""


@texts.shows("kind")
@dataclass(frozen=True)
class Importer:
    """The sessions of one library in one place.

    `kind` names the library; with a record's name it identifies a foreign session. `verify` gives
    the record's name for a cookie value, or None if that cannot be one: it never raises, and asks
    no store. `read` decodes a payload, or raises `ImportRefused`. `memory`: for how many seconds it
    is to be remembered that a session was imported, since its cookie or record may come back.
    """

    kind: str
    cookie: CookiePolicy
    verify: Callable[[str], str | None]
    records: ForeignRecords
    read: Callable[[bytes], Imported]
    memory: float = LATE_SAVES

    def names(self, header: str | None) -> list[str]:
        """The different records that the cookies of a request name; most requests name none."""
        return self.names_in(self.cookie.values(header))

    def names_in(self, values: list[str]) -> list[str]:
        """The same for the values of these cookies."""
        found = [self.verify(value) for value in values if len(value) <= MAX_COOKIE_BYTES]
        return [name for name in dict.fromkeys(found) if name is not None]

    def load(self, name: str) -> Imported | None:
        """What the record holds, or None if there is none. Raises ImportRefused, StoreUnavailable.

        Only plain values of a session: whether they can be stored is found out when they are.
        """
        payload = self.records.load(name)
        if payload is None:
            return None
        imported = self.read(payload)
        _require_mapping(imported.data)
        return imported


def _require_mapping(data: object) -> None:
    if type(data) is not dict:
        raise ImportRefused(f"it is a {type(data).__qualname__}, not a mapping")
    for key in data:
        if type(key) is not str or not is_unicode(key):
            raise ImportRefused(f"it has a key of type {type(key).__qualname__} (text is needed)")
