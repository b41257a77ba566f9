"""The live sessions: how many, whose, and when they began."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from wsgi_sessions import texts
from wsgi_sessions.operations.words import counted
from wsgi_sessions.settings.kinds import HOUR

if TYPE_CHECKING:
    from wsgi_sessions.console.view import View
    from wsgi_sessions.operations.sampling import Sample

HOURS = 24


@texts.shows("read", "total", "is_all")
class SampleBasis(Struct, frozen=True):
    """The number of sessions that were read, and of live ones.

    `total` is exact if all were read, else an estimate, or None where the store allows none.
    `unreadable`: the records beside them that are damaged, or of a newer release.
    """

    read: int
    total: int | None
    is_all: bool
    unreadable: int = 0

    @classmethod
    def of(cls, sample: Sample) -> SampleBasis:
        """Return that of a sample."""
        return cls(len(sample.sessions), sample.total, sample.is_all, sample.unreadable)

    def in_words(self) -> str:
        """Return it in a sentence or two."""
        if not self.unreadable:
            return self._read()
        kind = counted(self.unreadable, "record")
        return f"{self._read()} {kind} beside them could not be: damaged, or of a newer release."

    def _read(self) -> str:
        if self.is_all:
            return "All sessions were read."
        if self.total is None:
            first = f"From the first {self.read:,d} that a scan found"
            return f"{first}; this store does not tell the total."
        share = 100 * self.read / max(self.total, 1)
        return f"An estimate, from {self.read:,d} sessions that were read ({share:.2g} %)."

    def number(self) -> str:
        """Return the number of live sessions, as precisely as it is known."""
        if self.total is None:
            return f"more than {self.read:,d}"
        rounded = float(f"{self.total:.3g}")
        return f"{self.total:,d}" if self.is_all else f"about {rounded:,.0f}"


@texts.shows("first_hour")
class BegunByHour(Struct, frozen=True):
    """The sessions read that began in each of the last 24 hours; `first_hour` in epoch seconds."""

    first_hour: float
    logged_in: list[int]
    not_logged_in: list[int]


@texts.shows("sessions", "seconds")
class Growth(Struct, frozen=True):
    """The change in the number of sessions since so many seconds."""

    sessions: int
    seconds: float


@texts.shows("basis")
class LiveNumbers(Struct, frozen=True):
    """The live sessions. Sizes are in bytes; `median_idle` is in seconds; None without a session.

    `logged_in` and all after it count the sessions that were read. `growth` is that since the
    process began to look; None at its first look.
    """

    basis: SampleBasis
    logged_in: int
    median_size: int | None
    largest_size: int | None
    median_idle: float | None
    begun: BegunByHour
    growth: Growth | None


def live_numbers(view: View) -> LiveNumbers:
    """Return what the sample tells. Raises StoreUnavailable."""
    sample = view.sample()
    sizes = sorted(each.size for each in sample.sessions)
    idle = sorted(sample.at - each.session.last_used_at for each in sample.sessions)
    middle = len(sizes) // 2
    return LiveNumbers(
        SampleBasis.of(sample),
        sum(each.user is not None for each in sample.sessions),
        sizes[middle] if sizes else None,
        sizes[-1] if sizes else None,
        idle[middle] if idle else None,
        _begun(sample),
        _growth(view),
    )


def _begun(sample: Sample) -> BegunByHour:
    counts = {True: [0] * HOURS, False: [0] * HOURS}
    first = sample.at // HOUR - HOURS + 1
    for each in sample.sessions:
        place = int(each.session.created_at // HOUR - first)
        if 0 <= place < HOURS:
            counts[each.user is not None][place] += 1
    return BegunByHour(first * HOUR, counts[True], counts[False])


def _growth(view: View) -> Growth | None:
    if len(view.counts) < 2:
        return None
    first, last = view.counts[0], view.counts[-1]
    return Growth(last.sessions - first.sessions, last.at - first.at)
