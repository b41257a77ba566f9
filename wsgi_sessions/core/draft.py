"""What one request has made of a session so far: the snapshot it read, and its changes. Pure."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from msgspec import Struct

from wsgi_sessions import texts
from wsgi_sessions.core.merge.delta import ABSENT, Append, Assign, Operate
from wsgi_sessions.core.merge.stamps import reassigned
from wsgi_sessions.core.record.codec import decode, encode
from wsgi_sessions.core.values.workspace import Workspace
from wsgi_sessions.errors import UnserializableValue

if TYPE_CHECKING:
    from collections.abc import Mapping, Set

    from msgspec import Raw

    from wsgi_sessions.core.merge.delta import Change, Delta, Operation
    from wsgi_sessions.core.record.envelope import Envelope
    from wsgi_sessions.core.record.repeats import Repeats
    from wsgi_sessions.core.record.tombstones import Tombstone
    from wsgi_sessions.core.values.references import Encode
    from wsgi_sessions.errors import SessionError
    from wsgi_sessions.mutex import Fence

Move = Literal["cycle", "rights", "login"]
"""Why a session shall get another id: for its own sake, for other rights, for a log-in."""
HeadersState = Literal["open", "closed"]
"""Whether a cookie can still go out with the response's headers."""
PRINCIPAL = "principal"
CHAIN = "chain"
LIFETIME = "lifetime"
EARLY = "early"
"""Of a session that was made with its visitor's first page, before anything was put in."""
APPLICATION = "application"
"""The name of the application that began the session: its record may lie among others'."""
KEEP_ALIVE = "keep alive"
REFRESHED = "refreshed"
FAILURES = "refresh failures"
TRIED = "refresh tried"
_PRINCIPAL_BITS = 1024
_NO_KEYS: frozenset[str] = frozenset()
_NOTHING: Mapping[str, Raw] = MappingProxyType({})


@texts.shows("version", "expires_at")
class Snapshot(Struct, frozen=True):
    """A stored session as it was read: the base of all that a request changes."""

    session_id: str
    key: str
    version: int
    expires_at: float
    envelope: Envelope


@texts.shows("cycling")
class Checkpoint(NamedTuple):
    """The pending changes of a draft at one moment."""

    snapshot: Snapshot | None
    cycling: Move | None
    planted: frozenset[str]
    doomed: list[Snapshot | Tombstone]
    workspace: Workspace
    data: Delta
    metadata: Delta


def principal_of(envelope: Envelope) -> str | None:
    """The text of the principal that a session is bound to. Raises CorruptRecord."""
    principal = envelope.get_metadata(PRINCIPAL)
    return None if principal is None else str(principal)


def is_of(envelope: Envelope, application: str | None) -> bool:
    """Whether a session may be this application's: it tells of no other. None stands for all.

    Raises CorruptRecord.
    """
    return application is None or envelope.get_metadata(APPLICATION) in (None, application)


def check_principal(principal: str | int, path: str) -> None:
    """Raise UnserializableValue for what names nobody, and for a number too long to write out."""
    if type(principal) not in (str, int) or principal == "":
        raise UnserializableValue(path, "must be a non-empty str, or an int")
    if isinstance(principal, int) and principal.bit_length() > _PRINCIPAL_BITS:
        raise UnserializableValue(path, f"a principal has {_PRINCIPAL_BITS} bits at most")


def chain_of(session: Snapshot) -> str:
    """What stays the same when the session gets another id: the store key of its first one."""
    chain = session.envelope.get_metadata(CHAIN)
    return session.key if chain is None else str(chain)


def _operate_on_nothing(data: Workspace, key: str, operation: Operation) -> None:
    if isinstance(operation, Append):
        data.append(key, decode(operation.item))
    else:
        data.increment(key, operation.by)


@texts.shows("unless_asked")
class OutOfReach(NamedTuple):
    """Why no session should begin here; `unless_asked`: but by a log-in or `cycle_id`."""

    reason: str
    unless_asked: bool = False


class Draft:
    """A snapshot (None: nothing is stored yet) with changes on top.

    `data`: the application's keys. `metadata`: what this package keeps about the session.
    `cycling`: why the session gets a new id, if it does. `is_flushed`: there was a log-out.
    `doomed`: what the commit destroys. `is_gone`: a later look at the store found the snapshot
    destroyed.

    `repeats` has the tokens of its commits, if the request may be sent again. `fence` goes with
    what it stores, while the session's mutex is held. `planted` are keys that go at its commit,
    whoever has set them meanwhile: an attacker may have.

    `superseded` is the tombstone that the request found in place of its session: it is anonymous,
    and can log somebody in or out, but store nothing else. So is one whose session is `withheld`.

    `fault` is why the session could not be read or kept: it reads as empty, and storing raises it.

    `out_of_reach` says why no session can begin here: its cookie would not come back.
    """

    __slots__ = (
        "_encode",
        "_metadata",
        "cycling",
        "data",
        "doomed",
        "fault",
        "fence",
        "is_flushed",
        "is_gone",
        "out_of_reach",
        "planted",
        "repeats",
        "snapshot",
        "superseded",
        "withheld",
    )

    def __init__(self, snapshot: Snapshot | None, superseded: Tombstone | None = None) -> None:
        self.doomed: list[Snapshot | Tombstone] = []
        self.is_flushed = False
        self.fence: Fence | None = None
        self.repeats: Repeats | None = None
        self.superseded = superseded
        self.out_of_reach: OutOfReach | None = None
        self.withheld: Snapshot | None = None
        self.fault: SessionError | None = None
        self._encode: Encode = encode
        self.snapshot = snapshot
        self.cycling: Move | None = None
        self.planted: frozenset[str] = _NO_KEYS
        self.is_gone = False
        self.data = Workspace(_NOTHING if snapshot is None else snapshot.envelope.data)
        self._metadata: Workspace | None = None

    def accept(self, encode: Encode) -> None:
        """Take values as this encodes them, from now on: frameworks flatten subclasses."""
        self._encode = encode
        self.data.encode = encode

    def adopt(self, snapshot: Snapshot | None) -> None:
        """See this snapshot, without changes; what is doomed stays doomed."""
        self.snapshot = snapshot
        self.cycling = None
        self.planted = _NO_KEYS
        self.is_gone = False
        self.data = Workspace(
            _NOTHING if snapshot is None else snapshot.envelope.data, self._encode
        )
        self._metadata = None

    @property
    def metadata(self) -> Workspace:
        """The metadata, for changes; most requests only read one value, with `get_metadata`."""
        if self._metadata is None:
            self._metadata = Workspace(
                {} if self.snapshot is None else self.snapshot.envelope.metadata
            )
        return self._metadata

    def advance(self, snapshot: Snapshot) -> None:
        """All that was changed is committed: it is in this snapshot."""
        if self.repeats is not None:
            self.repeats.advance()
        self.snapshot = snapshot
        self.cycling = None
        self.planted = _NO_KEYS
        self.data.reset(snapshot.envelope.data)
        self._metadata = None

    def settle(self, snapshot: Snapshot) -> None:
        """Go on from `snapshot`: data and some metadata are committed, the rest stays pending."""
        if self.repeats is not None:
            self.repeats.advance()
        self.snapshot = snapshot
        self.data.reset(snapshot.envelope.data)
        if self._metadata is not None:
            self._metadata.settle(snapshot.envelope.metadata)

    def rebase(self, snapshot: Snapshot) -> None:
        """Put the pending changes onto a fresher snapshot."""
        self.metadata.rebase(snapshot.envelope.metadata)
        envelope = snapshot.envelope
        others: Set[str] = (
            frozenset() if self.snapshot is None else reassigned(self.snapshot.envelope, envelope)
        )
        self.snapshot = snapshot
        self.data.rebase(envelope.data, others)

    def checkpoint(self) -> Checkpoint:
        """What is pending now, to go back to with `restore`."""
        data, metadata = self.data.delta(), self.metadata_delta()
        doomed = [*self.doomed]
        return Checkpoint(
            self.snapshot, self.cycling, self.planted, doomed, self.data, data, metadata
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Undo what was changed since the checkpoint."""
        snapshot = checkpoint.snapshot
        self.adopt(snapshot)
        self.cycling, self.doomed = checkpoint.cycling, checkpoint.doomed
        self.planted = checkpoint.planted
        self.is_flushed = bool(self.doomed)
        self.data = checkpoint.workspace  # what it gave out before a log-out is still held
        self.data.restore({} if snapshot is None else snapshot.envelope.data, checkpoint.data)
        self.metadata.restore(
            {} if snapshot is None else snapshot.envelope.metadata, checkpoint.metadata
        )

    def flush(self) -> None:
        """Doom what is stored, and begin anew with nothing."""
        doomed = self.snapshot or self.superseded or self.withheld
        if doomed is not None:
            self.doomed.append(doomed)
        self.superseded = self.withheld = None
        self.is_flushed = True
        self.adopt(None)

    def begin_empty(self) -> None:
        """Have a new session stored, though nothing may be in it."""
        if self.snapshot is None and self.fault is None:
            self.set_metadata(EARLY, True)  # noqa: FBT003  # the value that is kept

    def discard(self) -> None:
        """Go back to what was stored when this was read, or committed last."""
        stored = self.doomed[0] if self.doomed else self.snapshot
        self.doomed, self.is_flushed = [], False
        self.adopt(stored if isinstance(stored, Snapshot) else None)
        self.superseded = None if isinstance(stored, Snapshot) else stored or self.superseded

    def give_up(self, fault: SessionError) -> None:
        """Read as empty from now on: see `fault`."""
        self.adopt(None)
        self.fault = fault

    def withhold(self) -> None:
        """Show the request nothing of its session, from its first access on."""
        self.withheld = self.snapshot
        self.adopt(None)

    def give_up_withheld(self) -> None:
        """Doom the session that is withheld: somebody logs in in its place."""
        if self.withheld is not None:
            self.doomed.append(self.withheld)
            self.withheld, self.is_flushed = None, True

    def begin_anew(self) -> None:
        """Doom what is stored, and begin again with what this request made by itself.

        That is what it assigned without a look at a stored value, and what it added by typed
        operations. A value that it read before, or changed in place, may hold what belongs to the
        former user.
        """
        own = {k: c for k, c in self.data.delta().items() if self._is_own(k, c)}
        values = {key: self.data.peek(key) for key in own}
        self.flush()
        for key, change in own.items():
            if isinstance(change, Operate):
                for operation in change.operations:
                    _operate_on_nothing(self.data, key, operation)
            else:
                self.data.set(key, values[key])

    def _is_own(self, key: str, change: Change) -> bool:
        """Whether a change holds nothing that was stored before."""
        if isinstance(change, Operate):
            return True
        if isinstance(change, Assign) and change.basis != "read":
            return change.value is not None
        return change.value is not None and not self.data.was_stored(key)

    def get_metadata(self, name: str) -> Any:
        """Return one metadata value, or None."""
        if self._metadata is None:
            return None if self.snapshot is None else self.snapshot.envelope.get_metadata(name)
        value = self._metadata.get(name)
        return None if value is ABSENT else value

    def set_metadata(self, name: str, value: object) -> None:
        """Set one metadata value, unless it is equal already; None removes it."""
        if value is not None:
            if not self.metadata.has(name) or encode(self.metadata.peek(name)) != encode(value):
                self.metadata.set(name, value)
        elif self.metadata.has(name):
            self.metadata.delete(name)

    def metadata_delta(self) -> Delta:
        """Return the changes of the metadata."""
        return {} if self._metadata is None else self._metadata.delta()

    def is_changed(self) -> bool:
        """Whether there is something to commit."""
        return bool(self.is_flushed or self.cycling or self.data.delta() or self.metadata_delta())

    def is_repeated(self) -> bool:
        """Whether the request was stored before: its client has sent it again."""
        if self.repeats is None or self.snapshot is None:
            return False
        return self.repeats.was_stored(each.token for each in self.snapshot.envelope.commits)

    def is_new(self) -> bool:
        """Whether nothing is stored in the session; an early one holds nothing yet."""
        if self.snapshot is None:
            return True
        envelope = self.snapshot.envelope
        return not envelope.data and envelope.metadata.keys() - {APPLICATION} == {EARLY}
