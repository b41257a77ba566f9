"""Copies the contents of a store to another one: `copy`.

There are two modes, which differ in the source:

- ``leave="untouched"``: the source stays as it is, as a fallback. For an application that is
  stopped, as a rehearsal, or beside read-through.
- ``leave="moved"``: each session is moved as `takeover` moves it on use, so that it is in only one
  store. For the rest of a migration with read-through.

**With a running application**, follow this order; nothing is lost and no user is logged out:

1. Let all workers use the new store with read-through (the setting `migrate_from`). From then on,
   only records of moves are written to the old store.
2. ``copy(..., leave="moved")`` moves the sessions whose users have not come back. It acts like one
   more worker: it and the requests coordinate the moves.
3. Let the workers use only the new store.

Promised, in both modes:

- Payload, expiry and key stay, so that every cookie keeps working. The version of a record may
  start again.
- It may be interrupted (kill -9) and repeated: finished sessions are left alone, unfinished ones
  are completed.
- Newer sessions in the target are never overwritten: a session there is replaced only if its last
  change is older than that of the source, by compare-and-set. With read-through this case does not
  occur.
- Destroyed sessions stay dead: a session destroyed through read-through is in neither store; one
  that was copied to the target and is gone from there is not copied again. For that, the target
  keeps a list of copied keys (`CopiedKeys`).
- Version stamps of the scopes in sessions, and of "global", end at or above those of the source.
- Contexts are added where the target remembers none.

Not promised: changes that workers write to the source *without* read-through after a session was
copied, until it is copied again; and, in that case, that a log-out there reaches the copy. An
untouched source still holds live sessions: empty it before you ever return to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from wsgi_sessions.clock import wall_clock
from wsgi_sessions.core.commit.loop import Lifetimes
from wsgi_sessions.core.draft import is_of
from wsgi_sessions.core.record.envelope import open_sealed
from wsgi_sessions.core.record.tombstones import ENDED
from wsgi_sessions.errors import (
    CorruptRecord,
    SessionExists,
    SessionGone,
    StoreUnavailable,
    UnsupportedFormat,
    VersionConflict,
)
from wsgi_sessions.identity import short_key
from wsgi_sessions.importers.receipts import is_receipt
from wsgi_sessions.migration.copied import CopiedKeys
from wsgi_sessions.migration.mover import Mover, Observed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from wsgi_sessions.contract import Backend
    from wsgi_sessions.core.endings.report import EndingReport
    from wsgi_sessions.core.record.envelope import Envelope

Leave = Literal["untouched", "moved"]
Effect = Literal["write", "count"]
CopyOutcome = Literal["copied", "refreshed", "moved", "kept", "destroyed", "gone", "others"]
_MAX_ATTEMPTS = 50


@dataclass
class Counts:
    """The results of a copy, real or simulated.

    Sessions: `copied` or `moved`; `refreshed` if the target had an older state; `kept` if it had
    them; `destroyed` in the target since an earlier copy; `gone` from the source in the meantime;
    `others`: those of other applications, not copied, if the source is one application's part of a
    store. `contexts` and `scopes` (of version stamps): the numbers carried over.
    """

    copied: int = 0
    moved: int = 0
    refreshed: int = 0
    kept: int = 0
    destroyed: int = 0
    gone: int = 0
    others: int = 0
    contexts: int = 0
    scopes: int = 0

    @property
    def sessions(self) -> int:
        """The number of sessions examined."""
        looked_at = self.copied + self.moved + self.refreshed + self.kept
        return looked_at + self.destroyed + self.gone + self.others


def copy(
    source: Backend,
    target: Backend,
    *,
    leave: Leave = "untouched",
    effect: Effect = "write",
    progress: Callable[[Counts], object] = lambda _: None,
    scopes: Iterable[str] = ("global",),
    absolute_lifetime: float = Lifetimes().absolute,
    report: EndingReport | None = None,
    clock: Callable[[], float] = wall_clock,
) -> Counts:
    """Copy all live sessions, with the data about them, contexts and version stamps to `target`.

    If `source` is one application's part of a store, only that part is copied.

    `effect` "count": change nothing, count what would be done. `progress` is called with the counts
    after each session and context. `scopes`: version stamps to carry over in addition to those in
    sessions. `absolute_lifetime`: that of the application, in seconds. `report`: see `Mover`.

    Raises StoreUnavailable: repeat it then; it continues where it stopped.
    """
    copier = _Copier(
        Mover(target, source, absolute_lifetime=absolute_lifetime, report=report, clock=clock),
        leave,
        effect,
    )
    counts = Counts()
    counts.scopes = copier.stamps(list(scopes))
    for key in source.iteration.keys():  # noqa: SIM118  # no dictionary
        outcome = copier.session(key)
        setattr(counts, outcome, getattr(counts, outcome) + 1)
        progress(counts)
    for moved in copier.contexts():
        counts.contexts += moved
        progress(counts)
    return counts


class _Copier:
    def __init__(self, mover: Mover, leave: Leave, effect: Effect) -> None:
        self._mover = mover
        self._source = mover.old
        self._target = mover.new
        self._leave = leave
        self._effect = effect
        self._copied = CopiedKeys(mover.new.index)
        self._copied_before = self._copied.all()

    def session(self, key: str) -> CopyOutcome:
        """Copy or move one session. Raises StoreUnavailable."""
        for _ in range(_MAX_ATTEMPTS):
            try:
                return self._session(key)
            except (SessionExists, SessionGone, VersionConflict):
                continue  # a request was faster: read again
        raise StoreUnavailable(
            f"session {short_key(key)} is changed by too many requests at once: repeat the copy",
            operation="copy",
            key=short_key(key),
            attempts=_MAX_ATTEMPTS,
        )

    def _session(self, key: str) -> CopyOutcome:
        old = Observed(self._source.sessions.load(key))
        new = Observed(self._target.sessions.load(key))
        outcome = self._judge(key, old, new)
        if self._effect == "count" or outcome in ("gone", "destroyed", "others"):
            return outcome
        if new.state == "live":  # both have it, after an earlier copy without moving
            if outcome == "refreshed":
                self._write(key, old, new)
            if self._leave == "moved":
                self._mover.sign_off(key, old, _envelope_in(key, old))
            return outcome
        if outcome == "moved":
            return "moved" if self._mover.take(key) is not None else "gone"
        return self._put(key, old, new, outcome)

    def _judge(self, key: str, old: Observed, new: Observed) -> CopyOutcome:
        """Return what to do with a session."""
        if _is_over(key, old):
            return "gone"
        if old.state == "moved":
            return "moved" if new.state == "pending" else "gone"
        if old.state == "live" and _is_anothers(key, old, self._source):
            return "others"
        if new.state == "live":
            return "refreshed" if _changed_at(key, new) < _changed_at(key, old) else "kept"
        if new.state == "absent" and key in self._copied_before:
            return "destroyed"
        if self._leave == "moved" or old.state != "live" or new.state == "claimed":
            return "moved"
        return "copied"

    def _put(self, key: str, old: Observed, new: Observed, outcome: CopyOutcome) -> CopyOutcome:
        """Create the session in the target, after checking that it was not destroyed in between.

        Like a move, except that a second read replaces the confirmation by the source. A log-out
        between that read and the last step has deleted the record in the source, and next deletes
        the target's record, pending or not.
        """
        new = self._mover.pend(key, new, old)
        assert old.record is not None
        self._copied.add(key, old.record.expires_at)
        old = Observed(self._source.sessions.load(key))
        if old.state == "absent":
            self._mover.discard(key, new)
            return "gone"
        if old.state != "live":
            return "moved" if self._mover.take(key) is not None else "gone"
        self._write(key, old, new)
        if self._source.sessions.load(key) is None:
            # Logged out in between, and the write replaced a pending record of another worker.
            self._target.sessions.delete(key)
            return "gone"
        return outcome

    def _write(self, key: str, old: Observed, new: Observed) -> None:
        assert old.record is not None
        assert new.record is not None
        payload, version = old.record.payload, new.record.version
        self._mover.carry(key, payload)
        self._target.sessions.save(key, payload, old.record.expires_at, expected_version=version)

    def stamps(self, scopes: list[str]) -> int:
        """Carry version stamps over; return their number."""
        if self._source.versions is None or self._target.versions is None:
            return 0
        if self._effect == "write":
            self._mover.carry_stamps(scopes)
        return len(scopes)

    def contexts(self) -> Iterable[int]:
        """Copy contexts; yield 1 for each one carried over, 0 for others."""
        source, target = self._source.contexts, self._target.contexts
        if source is None or target is None:
            return
        for principal, name, context in source.items():
            if self._effect == "count":
                yield int(target.get(principal, name) is None)
                continue
            added = target.add(principal, name, context)
            if added and source.get(principal, name) is None:
                target.clear(principal, name, context)  # cleared in both stores in between
            elif self._leave == "moved":
                source.clear(principal, name, context)
            yield int(added)


def _is_over(key: str, old: Observed) -> bool:
    """Return whether there is nothing left to copy."""
    if old.record is None:
        return True
    if old.state != "live":
        return False
    try:
        envelope = open_sealed(old.record.payload, key)
        return ENDED in envelope.metadata and not is_receipt(envelope)
    except (CorruptRecord, UnsupportedFormat):
        return False  # copied as it is: opening it deals with that


def _is_anothers(key: str, old: Observed, source: Backend) -> bool:
    """Return whether a record belongs to another application than this part of the store."""
    assert old.record is not None
    try:
        return not is_of(open_sealed(old.record.payload, key), source.application)
    except (CorruptRecord, UnsupportedFormat):
        return False


def _changed_at(key: str, observed: Observed) -> float:
    """Return the time of the last change, in seconds since the epoch; 0 if unknown."""
    envelope = _envelope_in(key, observed)
    if envelope is None:
        return 0.0
    commits = envelope.commits
    return commits[-1].at if commits else envelope.created_at


def _envelope_in(key: str, observed: Observed) -> Envelope | None:
    payload = None
    if observed.transfer is not None:
        payload = observed.transfer.payload
    elif observed.record is not None:
        payload = observed.record.payload
    try:
        return open_sealed(payload or b"", key)
    except (CorruptRecord, UnsupportedFormat):
        return None
