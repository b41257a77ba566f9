"""The parts of an importer: a cookie that names a foreign record, the records, and their format.

An importer reads the sessions that one other library wrote earlier. It stores nothing:
`wsgi_sessions.importers.adoption` decides about the sessions that it finds.

No name, payload or cookie of a foreign session may reach a log or a message: any of them gives
access to the session.
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
"""Browsers send no longer values: those are skipped, to bound the cost."""

PICKLED = "it was written with pickle: convert it with 'wsgi-sessions import --allow-pickle'"
"""The reason for which a request refuses a session, with the remedy."""

LATE_SAVES = 24 * 3600.0
"""Seconds after which no running request, here or in the former application, can have read a
foreign record before it was imported; the former application might save it again."""


@texts.shows("lifetime")
class Imported(NamedTuple):
    """The contents of a foreign session.

    `lifetime`: the idle lifetime of its cookie in seconds, or None for a session that ends with the
    browser; as `Session.remember` takes it.
    """

    data: dict[str, Any]
    lifetime: float | None = None


class ForeignRecords(Protocol):
    """The stored sessions of another library, by name. Methods raise StoreUnavailable."""

    def load(self, name: str) -> bytes | None:
        """Return the payload, or None if it is missing or expired."""

    def delete(self, name: str) -> None:
        """Remove the record. Idempotent."""

    def names(self) -> Iterator[str]:
        """Yield the name of every record. Not a snapshot."""

    def expires_at(self, name: str) -> float | None:
        """Return the expiry in seconds since the epoch; None if it never expires or has expired."""

    def close(self) -> None:
        """Close open connections. It may be used again."""


@texts.shows("kind")
@dataclass(frozen=True)
class Importer:
    """The sessions of one library in one place.

    `kind` names the library; with a record's name it identifies a foreign session. `verify` returns
    the record's name for a cookie value, or None if the value is invalid: it never raises and
    contacts no store. `read` decodes a payload, or raises `ImportRefused`. `memory`: the seconds
    for which receipts are kept, since the cookie or record may come back.
    """

    kind: str
    cookie: CookiePolicy
    verify: Callable[[str], str | None]
    records: ForeignRecords
    read: Callable[[bytes], Imported]
    memory: float = LATE_SAVES

    def names(self, header: str | None) -> list[str]:
        """Return the distinct records named by the cookies of a request; usually there are none."""
        return self.names_in(self.cookie.values(header))

    def names_in(self, values: list[str]) -> list[str]:
        """Return the same for the values of these cookies."""
        found = [self.verify(value) for value in values if len(value) <= MAX_COOKIE_BYTES]
        return [name for name in dict.fromkeys(found) if name is not None]

    def load(self, name: str) -> Imported | None:
        """Return the contents of a record, or None. Raises ImportRefused, StoreUnavailable.

        Values are not checked here: a value that cannot be stored is refused on storing.
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
            raise ImportRefused(f"it has a key of type {type(key).__qualname__} (text is required)")
