"""Tombstones: the remains, under its old key, of a session that ended or got another id. Pure.

A tombstone is a record without data. If the session got another id, it *leads on*: it names the key
of the record where the session goes on (never an id), and says whether there was a log-in, or
another change of rights, on the way. It counts for `TOMBSTONE_SECONDS`, however long it is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Raw, Struct

from wsgi_sessions import texts
from wsgi_sessions.core.record.codec import encode
from wsgi_sessions.core.record.envelope import Envelope
from wsgi_sessions.core.record.history import NO_COMMITS

if TYPE_CHECKING:
    from wsgi_sessions.core.record.history import Commit

ENDED = "ended"
"""Metadata key of every record that is not, or no longer, a session; its value is the reason."""
TOMBSTONE_SECONDS = 60.0
UNANNOUNCED = "untold"
"""Metadata key of a session under a new id, which no client gets before the old record is dead."""
_KIND = "kind"
_SUCCESSOR = "successor"

TombstoneKind = Literal["cycle", "login"]
"""The reason for another id: "login" also for a log-out and any other change of rights."""


@texts.shows("kind")
class Tombstone(Struct, frozen=True, gc=False):
    """The tombstone under `key`: the session goes on under the key `successor`."""

    key: str
    kind: TombstoneKind
    successor: str


def tombstone(commit: Commit, kind: TombstoneKind, successor: str) -> Envelope:
    """Return the record in place of a session that goes on under another key."""
    metadata = {
        ENDED: Raw(encode("replaced")),
        _KIND: Raw(encode(kind)),
        _SUCCESSOR: Raw(encode(successor)),
    }
    return Envelope(commit.at, NO_COMMITS, metadata, {}, {}, [commit])  # of either kind of token


def grave(reason: str, at: float) -> Envelope:
    """Return the record in place of a session that is over."""
    return Envelope(at, NO_COMMITS, {ENDED: Raw(encode(reason))}, {})


def tombstone_in(key: str, envelope: Envelope, now: float) -> Tombstone | None:
    """Return the tombstone in an envelope if it leads on and still counts.

    Raises CorruptRecord.
    """
    metadata = envelope.metadata
    if _SUCCESSOR not in metadata or envelope.created_at + TOMBSTONE_SECONDS <= now:
        return None
    kind: TombstoneKind = "cycle" if envelope.get_metadata(_KIND) == "cycle" else "login"
    return Tombstone(key, kind, envelope.get_metadata(_SUCCESSOR))
