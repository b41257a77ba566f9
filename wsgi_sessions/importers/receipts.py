"""Receipts: that a foreign session was imported, and as which of ours. They outlive it.

A receipt is a record beside the sessions, under a key that follows from the foreign session's name.
Its metadata says that the session is dead, so that nothing takes it for a live one, and nobody has
an id for it: it cannot be presented.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

import msgspec

from wsgi_sessions import texts
from wsgi_sessions.core.record.codec import encode
from wsgi_sessions.core.record.envelope import Envelope, open_sealed, seal
from wsgi_sessions.core.record.tombstones import ENDED
from wsgi_sessions.errors import CorruptRecord, SessionExists

if TYPE_CHECKING:
    from wsgi_sessions.contract import SessionStore

BIRTH = "imported"
"""Metadata key of an imported session's birth token; in a receipt, of its session's token."""
_UNREADABLE = b""


class Receipt:
    """The receipt of the session `name` of the library `kind`, kept until `expires_at`.

    Everything raises StoreUnavailable.
    """

    def __init__(self, store: SessionStore, kind: str, name: str, expires_at: float) -> None:
        self._store = store
        self._key = texts.hashed(f"wsgi_sessions.receipt.v1\0{kind}\0{name}")
        self._expires_at = expires_at

    def birth(self) -> bytes | None:
        """The birth token of the session that the import led to; None: there was no import."""
        record = self._store.load(self._key)
        if record is None:
            return None
        try:
            return birth(open_sealed(record.payload, self._key))
        except CorruptRecord:
            return _UNREADABLE  # whose it was cannot be told: better nobody's than a dead session's

    def claim(self, token: bytes, now: float) -> bool:
        """Whether the session with this birth token is the imported one. The first claim wins."""
        metadata = {ENDED: msgspec.Raw(encode("imported")), BIRTH: msgspec.Raw(encode(token))}
        payload = seal(Envelope(now, [], metadata, {}), self._key)
        try:
            self._store.create(self._key, payload, self._expires_at)
        except SessionExists:  # another's, or our own whose reply was lost
            found = self.birth()
            return found is not None and hmac.compare_digest(found, token)
        return True


def is_receipt(envelope: Envelope) -> bool:
    """Whether this is what is left of an import, and not of a session: it is to be kept."""
    return ENDED in envelope.metadata and BIRTH in envelope.metadata


def birth(envelope: Envelope) -> bytes:
    """The birth token in a session or a receipt; empty if there is none."""
    token = envelope.get_metadata(BIRTH)
    return token if isinstance(token, bytes) else _UNREADABLE
