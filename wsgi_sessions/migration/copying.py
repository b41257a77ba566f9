"""Copying all that a store holds into another one: `copy`.

Two ways, by what becomes of the source:

- ``leave="untouched"``: the source stays as it is, to go back to. For an application that is
  stopped, or as a rehearsal, or beside read-through.
- ``leave="moved"``: each session is moved as `takeover` moves it when it is used, so that it is in
  one store only. For the rest of a migration with read-through.

**With a running application**, in this order, and nothing is lost, nobody is logged out:

1. Let all workers use the new store with read-through (the setting `migrate_from`). From now on
   nothing is written to the old store but the marks of moves.
2. ``copy(..., leave="moved")`` takes over those sessions whose users have not come back. It is one
   more worker that meets sessions: it and the requests find out who moves which.
3. Let the workers use the new store alone.

Promised, in both ways:

- Payload and expiry stay, and so does the key, so that every cookie goes on working. The version of
  a record may begin anew.
- It may be interrupted (kill -9) and repeated: what is there already is left alone, what was begun
  is finished.
- What is newer in the target is never overwritten: a session there is replaced only if its last
  change is older than the source's, by compare-and-set. With read-through there is no such case.
- What was destroyed stays dead: a session that was destroyed through read-through is in neither
  store; one that a copy had put into the target, and that has gone from there since, is not put
  there again. For that the target's index lists what was copied, until it would have expired.
- Version stamps of the scopes that sessions hold, and of "global", end at or above the source's.
- Contexts are added where none is remembered.

Not promised: what workers write into the source *without* read-through after a session was copied,
until it is copied again; and, in that case, that a log-out there reaches the copy. A source that
was left untouched holds live sessions still: empty it before you ever go back to it.
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

Leave = Literal["untouched", "moved"]
Effect = Literal["write", "count"]
CopyOutcome = Literal["copied", "refreshed", "moved", "kept", "destroyed", "gone", "others"]
_MAX_ATTEMPTS = 50


@dataclass
class Counts:
    """What a copy did, or would do.

    Sessions: `copied` or `moved`; `refreshed`, where the target had an older state; `kept`, where
    it had them; `destroyed` in the target since an earlier copy; `gone` from the source before
    their turn came; `others` are left alone, those of other applications in the source, where that
    is one application's part of a store. `contexts` and `scopes` (of version stamps): how many were
    brought over.
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
        """How many sessions were looked at."""
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
    clock: Callable[[], float] = wall_clock,
) -> Counts:
    """Bring all live sessions, with what belongs to them, contexts and version stamps to `target`.

    Where `source` is one application's part of a store: its own.

    `effect` "count": change nothing, tell what would be done. `progress` is told the counts after
    each session and context. `scopes`: of version stamps, beside those that sessions hold.
    `absolute_lifetime`: as the application has it, in seconds.

    Raises StoreUnavailable: repeat it then, it goes on where it was.
    """
    copier = _Copier(
        Mover(target, source, absolute_lifetime=absolute_lifetime, clock=clock), leave, effect
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
        """One session. Raises StoreUnavailable."""
        for _ in range(_MAX_ATTEMPTS):
            try:
                return self._session(key)
            except (SessionExists, SessionGone, VersionConflict):
                continue  # a request was faster: look again
        raise StoreUnavailable(
            f"session {short_key(key)} is changed by too many at once: repeat the copy",
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
        if new.state == "live":  # both have it, from an earlier copy that left it untouched
            if outcome == "refreshed":
                self._write(key, old, new)
            if self._leave == "moved":
                self._mover.sign_off(key, old)
            return outcome
        if outcome == "moved":
            return "moved" if self._mover.take(key) is not None else "gone"
        return self._put(key, old, new, outcome)

    def _judge(self, key: str, old: Observed, new: Observed) -> CopyOutcome:
        """What is to be done with a session."""
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
        """Make the session in the target, once it is sure that it was not destroyed meanwhile.

        As a move, but for the source's confirmation: a second look takes its place. A log-out
        between that look and the last step has deleted in the source, and deletes the target's
        record next, be it pending or a session.
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
            # Logged out meanwhile, and what was written over was another worker's pending record.
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
        """Version stamps; how many."""
        if self._source.versions is None or self._target.versions is None:
            return 0
        if self._effect == "write":
            self._mover.carry_stamps(scopes)
        return len(scopes)

    def contexts(self) -> Iterable[int]:
        """Contexts, one at a time: 1 if it was brought over, else 0."""
        source, target = self._source.contexts, self._target.contexts
        if source is None or target is None:
            return
        for principal, name, context in source.items():
            if self._effect == "count":
                yield int(target.get(principal, name) is None)
                continue
            added = target.add(principal, name, context)
            if added and source.get(principal, name) is None:
                target.clear(principal, name, context)  # cleared in both, meanwhile
            elif self._leave == "moved":
                source.clear(principal, name, context)
            yield int(added)


def _is_over(key: str, old: Observed) -> bool:
    """Whether there is nothing to copy any more."""
    if old.record is None:
        return True
    if old.state != "live":
        return False
    try:
        envelope = open_sealed(old.record.payload, key)
        return ENDED in envelope.metadata and not is_receipt(envelope)
    except (CorruptRecord, UnsupportedFormat):
        return False  # it is copied as it is: whoever opens it deals with that


def _is_anothers(key: str, old: Observed, source: Backend) -> bool:
    """Whether a record is of another application than that whose part of the store this is."""
    assert old.record is not None
    try:
        return not is_of(open_sealed(old.record.payload, key), source.application)
    except (CorruptRecord, UnsupportedFormat):
        return False


def _changed_at(key: str, observed: Observed) -> float:
    """When a session was last changed, in seconds since the epoch; 0 if that cannot be told."""
    payload = None
    if observed.transfer is not None:
        payload = observed.transfer.payload
    elif observed.record is not None:
        payload = observed.record.payload
    try:
        envelope = open_sealed(payload or b"", key)
        commits = envelope.commits
    except (CorruptRecord, UnsupportedFormat):
        return 0.0
    return commits[-1].at if commits else envelope.created_at
