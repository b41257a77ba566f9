"""Inspection of stored sessions without changing them: no lifetime moves, nothing is set aside.

A store still does what it does on every load: an expired record is None, and data that is not a
record goes to quarantine.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from wsgi_sessions import texts
from wsgi_sessions.core.draft import LIFETIME, PRINCIPAL, is_of
from wsgi_sessions.core.principals import StoredSession
from wsgi_sessions.core.record.codec import decode
from wsgi_sessions.core.record.envelope import Envelope, open_sealed
from wsgi_sessions.core.record.tombstones import ENDED, UNANNOUNCED
from wsgi_sessions.errors import CorruptRecord, UnsupportedFormat
from wsgi_sessions.refresh.rule import Refreshing
from wsgi_sessions.versions.policy import STAMPS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from wsgi_sessions.contract import Backend, Record
    from wsgi_sessions.core.commit.loop import Lifetimes
    from wsgi_sessions.core.record.history import Commit


KEY_DIGITS = 64
_SEARCHED_DIGITS = 2
_MOST_STORED = 1000  # records that begin alike: expired ones among them are skipped


@texts.shows()
class LiveSession(NamedTuple):
    """A session as found in the store."""

    key: str
    record: Record
    envelope: Envelope


@texts.shows("type", "size")
class StoredValue(NamedTuple):
    """One key of the application: the type of its value, and its stored size in bytes.

    A value that fails to decode has the type ``damaged``.
    """

    key: str
    type: str
    size: int
    value: Any


@texts.shows("version", "size")
class SessionDetails(NamedTuple):
    """Everything stored about a session. Times are seconds since the epoch, sizes are in bytes.

    `lifetime` is the one passed to `Session.remember`: seconds, or a time. `holders` is the number
    of requests that use it now, or None if the store has no leases. `commits` are those within some
    seconds of the latest, newest last. `stamps` are the versions that its data was built from.
    """

    summary: StoredSession
    version: int
    size: int
    principal: str | int | None
    lifetime: float | datetime | None
    refreshing: Refreshing
    holders: int | None
    stamps: dict[str, int]
    values: list[StoredValue]
    commits: list[Commit]


def matching_keys(backend: Backend, beginning: str, limit: int = 2) -> list[str]:
    """Return up to `limit` store keys of live sessions with this prefix. A whole key is looked up;
    a prefix needs a scan in a store without `KeySearch`. Raises StoreUnavailable."""
    most = limit if backend.search is None else _MOST_STORED
    keys = stored_keys(backend, beginning, most)
    return list(islice((key for key in keys if backend.sessions.load(key) is not None), limit))


def stored_keys(backend: Backend, beginning: str, limit: int) -> list[str]:
    """Return up to `limit` store keys of records with this prefix, live and expired ones.

    Without `KeySearch`, which a store may lack, only live ones. Raises StoreUnavailable.
    """
    if len(beginning) == KEY_DIGITS:
        return [beginning]
    if backend.search is not None and len(beginning) >= _SEARCHED_DIGITS:
        return backend.search.keys_from(beginning, limit)
    found: dict[str, None] = {}
    for key in backend.iteration.keys():  # noqa: SIM118  # a method of the store, no dictionary
        if key.startswith(beginning):
            found[key] = None
            if len(found) == limit:
                break
    return list(found)


def live_sessions(
    backend: Backend,
    keys: Iterable[str] | None = None,
    unreadable: Callable[[str], object] | None = None,
) -> Iterator[LiveSession]:
    """Yield every session with its store key, in no order. Not a snapshot; needs a scan, unless
    `keys` names those to look up.

    Leaves out damaged records and those of newer releases, whose keys `unreadable` is called with;
    tombstones, records left by a worker that was killed while changing an id, and, in one
    application's part of a store, sessions of other applications. Raises StoreUnavailable.
    """
    for key in backend.iteration.keys() if keys is None else keys:
        try:
            record = backend.sessions.load(key)
            envelope = None if record is None else open_sealed(record.payload, key)
            is_wanted = (
                envelope is not None
                and _is_known(envelope)
                and is_of(envelope, backend.application)
            )
        except (CorruptRecord, UnsupportedFormat):
            if unreadable is not None:
                unreadable(key)
            continue
        if record is not None and envelope is not None and is_wanted:
            yield LiveSession(key, record, envelope)


def inspect(backend: Backend, key: str, lifetimes: Lifetimes) -> SessionDetails | None:
    """Return the session with this store key, or None.

    Raises StoreUnavailable, and CorruptRecord if it is damaged.
    """
    record = backend.sessions.load(key)
    if record is None:
        return None
    envelope = open_sealed(record.payload, key)
    if not _is_known(envelope):
        return None
    return SessionDetails(
        summary=StoredSession.of(key, record.expires_at, envelope, lifetimes),
        version=record.version,
        size=len(record.payload),
        principal=envelope.get_metadata(PRINCIPAL),
        lifetime=envelope.get_metadata(LIFETIME),
        refreshing=Refreshing.of(envelope),
        holders=None if backend.leases is None else backend.leases.holders(key),
        stamps=envelope.get_metadata(STAMPS) or {},
        values=[_value(name, bytes(raw)) for name, raw in sorted(envelope.data.items())],
        commits=envelope.commits,
    )


def _is_known(envelope: Envelope) -> bool:
    return ENDED not in envelope.metadata and UNANNOUNCED not in envelope.metadata


def _value(name: str, data: bytes) -> StoredValue:
    try:
        value = decode(data)
    except (CorruptRecord, UnsupportedFormat):
        return StoredValue(name, "damaged", len(data), None)
    return StoredValue(name, type(value).__name__, len(data), value)
