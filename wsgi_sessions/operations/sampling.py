"""A sample of the live sessions: what a store holds, told within a second, whatever its size.

Store keys are SHA-256, so the sessions that a scan finds first are a fair sample of all. Where a
store goes through them in the order of their keys, the last key reached tells how many there are.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from wsgi_sessions import texts
from wsgi_sessions.clock import monotonic
from wsgi_sessions.core.draft import principal_of
from wsgi_sessions.core.principals import StoredSession
from wsgi_sessions.errors import CorruptRecord
from wsgi_sessions.operations.inspection import live_sessions
from wsgi_sessions.versions.policy import STAMPS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from wsgi_sessions.contract import Backend
    from wsgi_sessions.core.commit.loop import Lifetimes
    from wsgi_sessions.core.record.history import Commit
    from wsgi_sessions.operations.inspection import LiveSession

MOST = 1000
SECONDS = 0.4
_KEYS = 16**64


@texts.shows("size", "version")
class SampledSession(NamedTuple):
    """One session of a sample. `user` is its principal as text, or None; `size` is in bytes."""

    session: StoredSession
    user: str | None
    size: int
    version: int
    commits: list[Commit]
    stamps: Mapping[str, int]


@texts.shows("total", "is_all")
class Sample(NamedTuple):
    """Some of the live sessions, or all of them.

    `total` is the number of live sessions: exact if `is_all`, else an estimate, or None where the
    order of the store does not allow one. `at`: seconds since the epoch. `unreadable`: the records
    beside them that are damaged, or of a newer release.
    """

    sessions: list[SampledSession]
    is_all: bool
    total: int | None
    at: float
    unreadable: int = 0


def sampled(
    backend: Backend,
    lifetimes: Lifetimes,
    now: float,
    *,
    most: int = MOST,
    seconds: float = SECONDS,
    clock: Callable[[], float] = monotonic,
) -> Sample:
    """Return up to `most` live sessions, those that a scan finds first within `seconds`.

    One slow answer of the store may exceed them. Raises StoreUnavailable.
    """
    deadline = clock() + seconds
    keys = _Keys(islice(backend.iteration.keys(), most + 1), most, lambda: clock() >= deadline)
    found: list[SampledSession] = []
    unreadable: list[str] = []
    for live in live_sessions(backend, keys, unreadable.append):
        try:
            found.append(_sampled(live, lifetimes))
        except CorruptRecord:
            unreadable.append(live.key)
    return Sample(found, keys.is_all, keys.estimate(len(found)), now, len(unreadable))


class _Keys:
    """The first keys of a scan, which notes how far it came."""

    def __init__(self, keys: Iterator[str], most: int, is_late: Callable[[], bool]) -> None:
        self._keys = keys
        self._most = most
        self._is_late = is_late
        self._last = ""
        self._is_ascending = True
        self.is_all = True

    def __iter__(self) -> Iterator[str]:
        for number, key in enumerate(self._keys):
            if number == self._most or (number and self._is_late()):
                self.is_all = False
                return
            self._is_ascending = self._is_ascending and self._last < key
            self._last = key
            yield key

    def estimate(self, found: int) -> int | None:
        """Return the number of sessions in all, where so many were found up to here."""
        if self.is_all:
            return found
        if not self._is_ascending or not self._last:
            return None
        return round(found * _KEYS / (int(self._last, 16) + 1))


def _sampled(live: LiveSession, lifetimes: Lifetimes) -> SampledSession:
    """Raises CorruptRecord."""
    key, record, envelope = live
    return SampledSession(
        StoredSession.of(key, record.expires_at, envelope, lifetimes),
        principal_of(envelope),
        len(record.payload),
        record.version,
        envelope.commits,
        envelope.get_metadata(STAMPS) or {},
    )
