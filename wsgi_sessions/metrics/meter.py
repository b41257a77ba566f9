"""ProcessMeter: what this process's requests do with their sessions, in its own cells."""

from __future__ import annotations

import re
import sys
import threading
from bisect import bisect_left
from types import MappingProxyType
from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.background import FaultLog, PerProcess
from wsgi_sessions.clock import wall_clock
from wsgi_sessions.errors import LockTimeout, SessionConflict, StoreUnavailable
from wsgi_sessions.forks import here, this_process
from wsgi_sessions.metrics import catalogue
from wsgi_sessions.metrics.catalogue import CATALOGUE, KEYS, OTHER
from wsgi_sessions.metrics.cells import SeriesKey, in_memory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sized

    from wsgi_sessions.core.commit.results import Result
    from wsgi_sessions.core.events import Event
    from wsgi_sessions.metrics.catalogue import Metric
    from wsgi_sessions.metrics.cells import Cells
    from wsgi_sessions.metrics.server_files import ServerFiles, Totals

_USES: Mapping[Result | None, str] = MappingProxyType(
    {None: "untouched", "unchanged": "read", "touched": "read", "created": "created"}
)  # any other result: changed
_ATTEMPTS, _SECONDS, _BYTES = (
    metric.bounds for metric in (catalogue.ATTEMPTS, catalogue.STORE_CALLS, catalogue.SIZES)
)
_ATTEMPTS_SUM, _SECONDS_SUM, _BYTES_SUM = (
    len(bounds) + 1 for bounds in (_ATTEMPTS, _SECONDS, _BYTES)
)
_REASON = re.compile(r"[a-z-]+")
_log = texts.log(__name__)


class ProcessMeter:
    """The `Meter` of a server's process: also in a fork of it, which gets cells of its own.

    A fault of the files is logged, and the numbers of that process are then not part of the sum.

    Thread-safe. The first methods take no lock, which would double their cost: in between the two
    halves of ``values[i] += n`` there is neither a call nor a loop, where CPython would let another
    thread run. Without its global lock, `SharedMeter` takes one.
    """

    def __init__(self, files: ServerFiles) -> None:
        self._files = files
        self._trouble = FaultLog(_log, "the metrics of this process are not counted")
        self._made = PerProcess(lambda: _OwnCells(self._open()))
        self._places: _OwnCells = None  # type: ignore[assignment]  # until the mark says otherwise
        self._mark = 0  # the mark of the process that `_places` are of; 0: of none yet

    def totals(self) -> Totals:
        """Return the sum over all processes of the server. Raises OSError, and LockTimeout."""
        self._here()
        return self._files.totals()

    # -- called by every request --------------------------------------------------------------

    def request(self, did: Result | None) -> None:
        """See `Meter`."""
        places = self._places if self._mark == here[0] else self._here()
        places.values[places.uses[did]] += 1.0

    def commit(self, result: Result) -> None:
        """See `Meter`."""
        places = self._places if self._mark == here[0] else self._here()
        places.values[places.results[result]] += 1.0

    def saved(self, attempts: int, *, merged: bool) -> None:
        """See `Meter`."""
        places = self._places if self._mark == here[0] else self._here()
        at, values = places.attempts, places.values
        values[at + bisect_left(_ATTEMPTS, attempts)] += 1.0
        values[at + _ATTEMPTS_SUM] += attempts
        if merged:
            values[places.merges] += 1.0

    def store_call(self, call: str, seconds: float, size: int = 0) -> None:
        """Count a call to the store by ``operation outcome``, such as "save conflict".

        `size`: the bytes that it stored, if it stored any.
        """
        places = self._places if self._mark == here[0] else self._here()
        at, values = places.calls.get(call), places.values
        if at is None:
            at = places.begin_call(call)
        values[at + bisect_left(_SECONDS, seconds)] += 1.0
        values[at + _SECONDS_SUM] += seconds
        if size:
            at = places.sizes
            values[at + bisect_left(_BYTES, size)] += 1.0
            values[at + _BYTES_SUM] += size
        if places.is_broken and not call.endswith("unavailable"):
            places.note_breaker(is_open=False)

    def store_refused(self, operation: str, seconds: float) -> None:
        """Count a call that was not made: the breaker is open until the store answers again."""
        self.store_call(f"{operation} not-asked", seconds)
        self._here().note_breaker(is_open=True)

    # -- seldom ------------------------------------------------------------------------------

    def commit_failed(self, error: BaseException) -> None:
        """See `Meter`."""
        word = "refused"
        if isinstance(error, SessionConflict):
            word = "conflict"
        elif isinstance(error, StoreUnavailable):
            word = "unavailable"
        self._add(catalogue.COMMITS, word)

    def waited(self, outcome: str, seconds: float) -> None:
        """Count a wait for the turn with a session."""
        places, bounds = self._here(), catalogue.WAITS.bounds
        at = places.cells.place(catalogue.WAITS, outcome)
        with places.lock:
            places.values[at + bisect_left(bounds, seconds)] += 1.0
            places.values[at + len(bounds) + 1] += seconds

    def event(self, event: Event) -> None:
        """See `Meter`."""
        facts = event.facts
        self._add(catalogue.EVENTS, event.name)
        if event.name == "conflict":
            key = self._here().bounded_key(str(facts.get("path")))
            self._add(catalogue.CONFLICTS, key, str(facts.get("kind")))
        elif event.name == "ended":
            self._add(catalogue.ENDS, _word(catalogue.ENDINGS, facts.get("why")))
        elif event.name == "refused":
            self._add(catalogue.REFUSED, _word(catalogue.REFUSALS, facts.get("why")))
            more = facts.get("more")
            if isinstance(more, int):
                self._add(catalogue.REFUSED, catalogue.UNEXPLAINED, by=more)
        if "cause" in facts:
            self._add(catalogue.ERRORS, _word(catalogue.CAUSES, facts["cause"]))

    def leased(self, leases: Sized) -> None:
        """Note how many leases the requests of this process hold."""
        places = self._here()
        at = places.cells.place(catalogue.LEASES)
        with places.lock:
            places.values[at] = len(leases)  # under the lock: the last caller sees them all

    def counted(self, live: int) -> None:
        """Note how many sessions live in the store."""
        places = self._here()
        at = places.cells.place(catalogue.LIVE)
        with places.lock:
            places.values[at], places.values[at + 1] = live, wall_clock()

    def is_count_due(self, seconds: float) -> bool:
        """Return whether the live sessions were last counted so many seconds ago, or never."""
        try:
            series = self.totals().series
        except (OSError, LockTimeout):
            return False
        reading = series.get(SeriesKey(catalogue.LIVE.name, ()))
        return reading is None or wall_clock() - reading[1] >= seconds

    def _add(self, metric: Metric, *labels: str, by: int = 1) -> None:
        places = self._here()
        at = places.cells.place(metric, *labels)
        with places.lock:
            places.values[at] += by

    def _here(self) -> _OwnCells:
        if self._mark != here[0] or not self._mark:
            self._places = self._made.get()
            self._mark = this_process()
        return self._places

    def _open(self) -> Cells:
        try:
            return self._files.open_own()
        except OSError as error:
            self._trouble.met(error)
            return in_memory()


class SharedMeter(ProcessMeter):
    """A `ProcessMeter` for an interpreter whose threads run at the same time."""

    def __init__(self, files: ServerFiles) -> None:
        super().__init__(files)
        self._lock = PerProcess(threading.RLock)

    def request(self, did: Result | None) -> None:
        """See `Meter`."""
        with self._lock.get():
            super().request(did)

    def commit(self, result: Result) -> None:
        """See `Meter`."""
        with self._lock.get():
            super().commit(result)

    def saved(self, attempts: int, *, merged: bool) -> None:
        """See `Meter`."""
        with self._lock.get():
            super().saved(attempts, merged=merged)

    def store_call(self, call: str, seconds: float, size: int = 0) -> None:
        """See `ProcessMeter`."""
        with self._lock.get():
            super().store_call(call, seconds, size)


def meter_for(files: ServerFiles) -> ProcessMeter:
    """Return the meter that suits this interpreter."""
    has_global_lock = getattr(sys, "_is_gil_enabled", lambda: True)()
    return ProcessMeter(files) if has_global_lock else SharedMeter(files)


class _OwnCells:
    """The places of this process's numbers; each series whose words are known begins at once."""

    def __init__(self, cells: Cells) -> None:
        self.cells = cells
        self.values = cells.values
        self.lock = cells.lock
        self.is_broken = False
        self.calls: dict[str, int] = {}
        self._keys: set[str] = set()
        for metric in CATALOGUE.values():
            for word in metric.words:
                cells.place(metric, word)
            if not metric.labels and metric.kind != "reading":
                cells.place(metric)
        place = cells.place
        used = {word: place(catalogue.REQUESTS, word) for word in catalogue.USES}
        self.results = {word: place(catalogue.COMMITS, word) for word in catalogue.COMMITS.words}
        self.uses = {did: used[_USES.get(did, "changed")] for did in (None, *catalogue.RESULTS)}
        self.merges = place(catalogue.MERGES)
        self.attempts = place(catalogue.ATTEMPTS)
        self.sizes = place(catalogue.SIZES)
        self.breaker = place(catalogue.BREAKER)

    def begin_call(self, call: str) -> int:
        """Return the place of a kind of calls to the store, from the first one on."""
        operation, _, outcome = call.rpartition(" ")
        at = self.calls[call] = self.cells.place(catalogue.STORE_CALLS, operation, outcome)
        return at

    def note_breaker(self, *, is_open: bool) -> None:
        """Show whether the store is not asked."""
        self.is_broken = is_open
        with self.lock:
            self.values[self.breaker] = float(is_open)

    def bounded_key(self, key: str) -> str:
        """Return a session's key as a label: a client may have chosen it, so not any number."""
        if key not in self._keys:
            if len(self._keys) >= KEYS:
                return OTHER
            self._keys.add(key)
        return key


def _word(known: tuple[str, ...], found: object) -> str:
    """Return the known word that a reason begins with, such as "revoked" of "revoked by …"."""
    word = _REASON.match(str(found))
    return word[0] if word is not None and word[0] in known else OTHER
