"""Receipts: records of the import of a foreign session, which outlive the session.

A receipt is a record beside the sessions, under a key derived from the name of the foreign session.
Its metadata marks it as ended, so that it is never taken for a live session. No id leads to it, so
that no client can present it.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

import msgspec

from wsgi_sessions import texts
from wsgi_sessions.core.record.codec import encode
from wsgi_sessions.core.record.envelope import Envelope, open_sealed, seal
from wsgi_sessions.core.record.history import NO_COMMITS
from wsgi_sessions.core.record.tombstones import ENDED
from wsgi_sessions.errors import CorruptRecord, SessionExists

if TYPE_CHECKING:
    from wsgi_sessions.contract import SessionStore

BIRTH = "imported"
"""Metadata key of an imported session's birth token; in a receipt, of its session's token."""
_UNREADABLE = b""


class Receipt:
    """The receipt of the session `name` of the library `kind`, kept until `expires_at`.

    All methods raise StoreUnavailable.
    """

    def __init__(self, store: SessionStore, kind: str, name: str, expires_at: float) -> None:
        self._store = store
        self.key = texts.hashed(f"wsgi_sessions.receipt.v1\0{kind}\0{name}")
        self._expires_at = expires_at

    def birth(self) -> bytes | None:
        """Return the birth token of the imported session, or None if there was no import."""
        record = self._store.load(self.key)
        if record is None:
            return None
        try:
            return birth(open_sealed(record.payload, self.key))
        except CorruptRecord:
            return _UNREADABLE  # its session is unknown: accept none rather than a dead one

    def claim(self, token: bytes, now: float) -> bool:
        """Return whether the session with this birth token is the imported one. The first claim
        wins."""
        metadata = {ENDED: msgspec.Raw(encode("imported")), BIRTH: msgspec.Raw(encode(token))}
        payload = seal(Envelope(now, NO_COMMITS, metadata, {}), self.key)
        try:
            self._store.create(self.key, payload, self._expires_at)
        except SessionExists:  # made by another request, or by this one, its reply lost
            found = self.birth()
            return found is not None and hmac.compare_digest(found, token)
        return True


def is_receipt(envelope: Envelope) -> bool:
    """Return whether this is a receipt, which is kept, and not the tombstone of a session."""
    return ENDED in envelope.metadata and BIRTH in envelope.metadata


def birth(envelope: Envelope) -> bytes:
    """Return the birth token in a session or a receipt; empty if there is none."""
    token = envelope.get_metadata(BIRTH)
    return token if isinstance(token, bytes) else _UNREADABLE
