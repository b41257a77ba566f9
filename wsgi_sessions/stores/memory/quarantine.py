"""Damaged records, set aside in this process's memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsgi_sessions.contract import Record
    from wsgi_sessions.stores.memory.sessions import MemoryStore
    from wsgi_sessions.upkeep import OnSetAside

MAX_QUARANTINED = 100


class MemoryQuarantine:
    """`Quarantine`: the latest 100 are kept."""

    def __init__(self, sessions: MemoryStore) -> None:
        self._sessions = sessions
        self._records: dict[str, Record] = {}

    def set_aside(self, key: str, version: int, reason: str) -> None:  # noqa: ARG002  # in the log
        """See `Quarantine.set_aside`."""
        record = self._sessions.take_out(key, version)
        if record is None:
            return
        self._records[key] = record
        for old in list(self._records)[:-MAX_QUARANTINED]:
            self._records.pop(old, None)

    def quarantined(self) -> int:
        """See `Quarantine.quarantined`."""
        return len(self._records)

    def report_to(self, told: OnSetAside) -> None:
        """Do nothing: the store itself finds no damage, for it opens no record."""
