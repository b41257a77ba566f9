"""The end of a record by time: by which lifetime, and when. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wsgi_sessions import texts
from wsgi_sessions.core.limits.lifetimes import FixedEnd
from wsgi_sessions.core.record.envelope import open_sealed
from wsgi_sessions.core.record.tombstones import ENDED, UNANNOUNCED
from wsgi_sessions.errors import CorruptRecord, UnsupportedFormat

if TYPE_CHECKING:
    from wsgi_sessions.contract import Record
    from wsgi_sessions.core.limits.lifetimes import Lifetimes
    from wsgi_sessions.core.record.envelope import Envelope
    from wsgi_sessions.endings import EndReason

_SAME = 1.0  # seconds: clocks of hosts and servers differ


@texts.shows("why", "at")
class Expiry(NamedTuple):
    """A session that has expired: the reason, the time in seconds since the epoch, its content."""

    why: EndReason
    at: float
    envelope: Envelope


def expiry_of(key: str, record: Record, lifetimes: Lifetimes) -> Expiry | None:
    """Return how the session in an expired record ended; None for a damaged one, or a tombstone."""
    try:
        envelope = open_sealed(record.payload, key)
        if ENDED in envelope.metadata or UNANNOUNCED in envelope.metadata:
            return None
        asked = lifetimes.asked(envelope)
    except (CorruptRecord, UnsupportedFormat):
        return None
    last = envelope.created_at + lifetimes.absolute
    if isinstance(asked, FixedEnd):
        last = min(last, asked.at)
    is_absolute = record.expires_at >= last - _SAME
    return Expiry(
        "expired-absolute" if is_absolute else "expired-idle", record.expires_at, envelope
    )
