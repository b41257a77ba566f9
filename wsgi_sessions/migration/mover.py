"""Moves sessions, one at a time, from an old store to a new one, while both are in use.

Two stores have no common transaction, so a move is a chain of compare-and-sets, each on one store.
The state stored after each of them determines the next step, which any process that finds it can
take: another request, another worker, the next start.

=====  ========================  =====================  ============================================
step   old store                 new store              what a process does that finds it
=====  ========================  =====================  ============================================
0      the session               nothing                claim it in the old store
1      claimed(token, payload)   nothing                put it into the new store, pending
2      claimed(token, payload)   pending(token,         have the old store confirm it
                                 payload)
3      moved(token)              pending(token,         make it the session of the new store
                                 payload)
4      moved(), for a while      the session            use it
=====  ========================  =====================  ============================================

**Nothing is lost.** From step 1 on, no save in the old store succeeds, since the version has
changed; a worker that tries finds an unknown format and answers 503. So the claimed state is the
last one, and at any time one store holds it whole: the old one up to step 2, the new one from step
2 on.

**Nothing is doubled.** A session is used only where it is a session and not a record in transit: in
one store at a time. It becomes a session in step 4, after the old store has confirmed by
compare-and-set that it was only claimed until then.

**The dead stay dead.** A log-out deletes in the old store first, then in the new one. A move
overtaken by it finds no claim to confirm. A confirmed move finds no pending record. A pending
record without a confirmation, or with one of another token, is dead: a worker that slept since step
1 creates one and then removes it, or leaves it to expire if it is killed.

**Both directions at once** work too, as during the rollback of a deploy: each continues from the
state that the other left. Workers whose new store holds a claim take it back. Not promised then:
that a log-out ends a session that is moved there and back while the log-out runs.

Not promised either: that the dead stay dead if, within one move, a process sleeps between steps 3
and 4, the session is logged out, another process that slept since step 1 creates the same pending
record again, and the first process is killed right after turning it into a session, before it
checks back.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, NamedTuple

from wsgi_sessions import texts
from wsgi_sessions.clock import wall_clock
from wsgi_sessions.contract import Record
from wsgi_sessions.core.draft import KEEP_ALIVE, principal_of
from wsgi_sessions.core.limits.lifetimes import Lifetimes
from wsgi_sessions.core.record.envelope import Envelope, open_sealed
from wsgi_sessions.endings import Cause
from wsgi_sessions.errors import (
    CorruptRecord,
    SessionExists,
    SessionGone,
    StoreUnavailable,
    UnsupportedFormat,
    VersionConflict,
)
from wsgi_sessions.identity import short_key
from wsgi_sessions.migration.copied import CopiedKeys
from wsgi_sessions.migration.transfer import Transfer, TransferState, is_transfer, unpack
from wsgi_sessions.versions.policy import STAMPS

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.contract import Backend, SessionStore
    from wsgi_sessions.core.endings.report import EndingReport

SIGN_SECONDS = 600.0
"""Seconds for which the old store records that a session has moved, rather than ended."""
_NO_MOVE = bytes(8)
_MAX_ATTEMPTS = 50
_CLOCKS_DIFFER = 60.0
_log = texts.log(__name__)

Found = Literal["absent", "live"] | TransferState


@texts.shows()
class Observed(NamedTuple):
    """The record of one store under a key, as last read or written."""

    record: Record | None

    @property
    def transfer(self) -> Transfer | None:
        """The transfer record, if the session is in transit."""
        if self.record is None or not is_transfer(self.record.payload):
            return None
        return unpack(self.record.payload)

    @property
    def token(self) -> bytes:
        """The token of its move, if the session is in transit."""
        return b"" if self.transfer is None else self.transfer.token

    @property
    def state(self) -> Found:
        """The state of the record."""
        if self.record is None:
            return "absent"
        transfer = self.transfer
        return "live" if transfer is None else transfer.state


class Mover:
    """Moves sessions from `old` to `new`, with the data about them.

    `absolute_lifetime`: how long entries of the principal's index are kept, in seconds, from a
    session's creation (`math.inf`: until it expires, and some). `report` tells the end of each in
    the old store, and keeps its trace there. `clock`: seconds since the epoch.
    """

    def __init__(
        self,
        new: Backend,
        old: Backend,
        *,
        absolute_lifetime: float,
        report: EndingReport | None = None,
        clock: Callable[[], float] = wall_clock,
    ) -> None:
        self.new = new
        self.old = old
        self._report = report
        self._lifetimes = Lifetimes(absolute=absolute_lifetime)
        self._clock = clock

    def take(self, key: str) -> Record | None:
        """Return the session once it is in the new store, or None if neither store has it.

        Completes a move that any process has begun. Raises StoreUnavailable.
        """
        for _ in range(_MAX_ATTEMPTS):
            new = Observed(self.new.sessions.load(key))
            old = Observed(None if new.state == "live" else self.old.sessions.load(key))
            try:
                return self._advance(key, new, old)
            except (SessionExists, SessionGone, VersionConflict):
                continue  # another process took this step, or a log-out came: read again
        raise StoreUnavailable(
            f"session {short_key(key)} is moved by too many requests at once: retry",
            operation="move",
            key=short_key(key),
            attempts=_MAX_ATTEMPTS,
        )

    def _advance(self, key: str, new: Observed, old: Observed) -> Record | None:
        """Take step after step, until the session is in the new store, or is dead."""
        while new.state != "live":
            match new.state, old.state:
                case "claimed", _:  # by a worker of the other direction: it is still here
                    new = self._settle(self.new.sessions, key, new)
                case _, "live":
                    old = self._claim(key, old)
                case "pending", "claimed" if new.token == old.token:
                    old = _write(self.old.sessions, key, old, Transfer("moved", old.token))
                case _, "claimed":
                    new = self.pend(key, new, old)
                case "pending", "moved" if new.token == old.token:
                    return self._arrive(key, new, old)
                case "moved", "pending" if new.token == old.token:
                    old = self._settle(self.old.sessions, key, old)
                case _:
                    self._require_same(key, new)
                    if new.state == "pending":
                        self.discard(key, new)
                    return None
        return new.record

    def _require_same(self, key: str, new: Observed) -> None:
        """Require that the new store is unchanged. The old store was read between two equal reads
        of the new one: so both states existed at one time, and no session slipped through.
        """
        found = self.new.sessions.load(key)
        if found != new.record:
            raise SessionExists("the session is being moved")

    # -- the steps -----------------------------------------------------------------------------

    def _claim(self, key: str, old: Observed) -> Observed:
        assert old.record is not None
        claimed = Transfer("claimed", os.urandom(8), old.record.payload)
        return _write(self.old.sessions, key, old, claimed)

    def pend(self, key: str, new: Observed, old: Observed) -> Observed:
        """Put the state of the old store into the new one as a pending record, with the token of
        the claim, so that it cannot be confused with the remains of another move."""
        assert old.record is not None
        if old.transfer is None:
            transfer = Transfer("pending", os.urandom(8), old.record.payload)
        else:
            transfer = old.transfer._replace(state="pending")
        if new.record is not None:
            return _write(self.new.sessions, key, new, transfer, old.record.expires_at)
        packed = transfer.pack()
        self.new.sessions.create(key, packed, old.record.expires_at)
        return Observed(Record(1, packed, old.record.expires_at))

    def _arrive(self, key: str, new: Observed, old: Observed) -> Record | None:
        assert new.transfer is not None
        envelope = self.carry(key, new.transfer.payload)
        new = self._settle(self.new.sessions, key, new)
        try:
            if not self._leave(key, old, envelope):
                self.new.sessions.delete(key)
                return None
        except StoreUnavailable as error:
            _log.warning(
                ("the remains of a moved session stay in the old store until they expire: %s"),
                error,
            )
        _log.debug("session %s moved to the %s store", short_key(key), self.new.name)
        return new.record

    @staticmethod
    def _settle(store: SessionStore, key: str, observed: Observed) -> Observed:
        """Turn a record in transit into the session that it holds."""
        assert observed.record is not None
        assert observed.transfer is not None
        payload, expires_at = observed.transfer.payload, observed.record.expires_at
        version = store.save(key, payload, expires_at, expected_version=observed.record.version)
        return Observed(Record(version, payload, expires_at))

    def discard(self, key: str, new: Observed) -> None:
        """Delete a pending record by compare-and-set: write it with an expiry in the past."""
        assert new.record is not None
        past = self._clock() - 3600.0
        self.new.sessions.save(key, b"", past, expected_version=new.record.version)

    # -- data about a session -------------------------------------------------------------

    def carry(self, key: str, payload: bytes) -> Envelope | None:
        """Carry over the data that must precede the session: index, schedule and the versions of
        its scopes. Return None if the payload is not a session."""
        try:
            envelope = open_sealed(payload, key)
            principal = principal_of(envelope)
            if principal is not None:
                until = self._lifetimes.listed_until(self._clock(), envelope)
                self.new.index.add(principal, key, until)
            self.carry_stamps(_scopes(envelope))
        except (CorruptRecord, UnsupportedFormat):
            return None  # opening it deals with that
        if KEEP_ALIVE in envelope.metadata and self.new.refreshes is not None:
            self.new.refreshes.schedule(key, self._clock())
        return envelope

    def carry_stamps(self, scopes: list[str]) -> None:
        """Raise versions in the new store to at least those in the old one: no bump is missed."""
        new, old = self.new.versions, self.old.versions
        if new is None or old is None or not scopes:
            return
        there, here = old.current(scopes), new.current(scopes)
        for scope in scopes:
            if here[scope] < there[scope]:
                new.bump(scope, least=there[scope])

    def sign_off(self, key: str, old: Observed, envelope: Envelope | None) -> None:
        """Record in the old store for a while that the session has moved to the new one. The token
        is that of no move, so that it confirms nothing.

        Raises VersionConflict or SessionGone if the record has changed since it was read.
        """
        assert old.record is not None
        until = min(old.record.expires_at, self._clock() + SIGN_SECONDS)
        _write(self.old.sessions, key, old, Transfer("moved", _NO_MOVE), until)
        if self._report is not None:
            cause = Cause("taken-over", "take-over", detail=f"it is in the {self.new.name} store")
            self._report.note(key, cause, envelope)

    def close(self) -> None:
        """Keep the traces that wait, and close both stores."""
        if self._report is not None and self._report.traces is not None:
            self._report.traces.close()
        self.new.sessions.close()
        self.old.sessions.close()

    def _leave(self, key: str, old: Observed, envelope: Envelope | None) -> bool:
        """Clean up in the old store; return False if the session was logged out there.

        Only the process that turned it into a session calls this, so no other has signed it off.
        """
        assert old.record is not None
        try:
            self.sign_off(key, old, envelope)
        except VersionConflict:
            pass  # a worker of the other direction is moving it back
        except SessionGone:
            if self._clock() < old.record.expires_at - _CLOCKS_DIFFER:
                return False
        CopiedKeys(self.old.index).remove(key)
        if envelope is None:
            return True
        if self.old.refreshes is not None and KEEP_ALIVE in envelope.metadata:
            self.old.refreshes.remove(key)
        principal = principal_of(envelope)
        if principal is not None:
            self.old.index.remove(principal, key)
        return True


def _write(
    store: SessionStore,
    key: str,
    observed: Observed,
    transfer: Transfer,
    expires_at: float | None = None,
) -> Observed:
    assert observed.record is not None
    until = observed.record.expires_at if expires_at is None else expires_at
    packed = transfer.pack()
    version = store.save(key, packed, until, expected_version=observed.record.version)
    return Observed(Record(version, packed, until))


def _scopes(envelope: Envelope) -> list[str]:
    """Return the scopes whose versions a session holds. Raises CorruptRecord."""
    stamps = envelope.get_metadata(STAMPS)
    return list(stamps) if isinstance(stamps, dict) else []
