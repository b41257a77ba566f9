"""Envelopes that this process opened or sealed last: the same bytes need not be opened again. Pure.

A page with its fragments reads one session many times, and the store returns the same bytes each
time. Checksum and MessagePack take as long as a tenth of all that a read costs in Python.
"""

from __future__ import annotations

from wsgi_sessions.core.record.envelope import Envelope, open_sealed, seal

_SESSIONS = 256
_PAYLOAD_BYTES = 4096  # with twice as many sessions: 4 MB of payloads and their envelopes at most


class Envelopes:
    """Opens and seals as `open_sealed` and `seal` do, and keeps what is small for the next time.

    An envelope is never changed once it has a payload, so requests share it. Entries are dropped by
    generations: when there are 256 young ones, they become the old ones, and those go.

    Thread-safe: threads that race make an entry twice, or drop one too early.
    """

    __slots__ = ("_old", "_young")

    def __init__(self) -> None:
        self._young: dict[str, tuple[bytes, Envelope]] = {}  # by store key
        self._old: dict[str, tuple[bytes, Envelope]] = {}

    def open(self, payload: bytes, key: str) -> Envelope:
        """Return the envelope in a payload.

        Raises CorruptRecord and UnsupportedFormat, as `open_sealed` does.
        """
        known = self._young.get(key) or self._old.get(key)
        if known is not None and known[0] == payload:
            return known[1]
        envelope = open_sealed(payload, key)
        if len(payload) <= _PAYLOAD_BYTES:
            self._keep(key, payload, envelope)
        return envelope

    def seal(self, envelope: Envelope, key: str) -> bytes:
        """Return the payload of a record for the session with this store key."""
        payload = seal(envelope, key)
        if len(payload) <= _PAYLOAD_BYTES:
            if key in self._young:
                self._young[key] = (payload, envelope)
            else:
                self._keep(key, payload, envelope)
        return payload

    def _keep(self, key: str, payload: bytes, envelope: Envelope) -> None:
        if len(self._young) >= _SESSIONS:
            self._old, self._young = self._young, {}
        self._young[key] = (payload, envelope)
