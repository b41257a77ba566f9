"""The draft: one request's snapshot of a session, and its changes so far. Pure."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from msgspec import Struct

from wsgi_sessions import texts
from wsgi_sessions.core.merge.delta import ABSENT, Append, Assign, Operate
from wsgi_sessions.core.merge.stamps import reassigned
from wsgi_sessions.core.record.codec import decode, encode
from wsgi_sessions.core.values.workspace import Workspace
from wsgi_sessions.endings import Cause
from wsgi_sessions.errors import SessionError, UnserializableValue

if TYPE_CHECKING:
    from collections.abc import Mapping, Set

    from msgspec import Raw

    from wsgi_sessions.core.merge.delta import Change, Delta, Operation
    from wsgi_sessions.core.merge.rules import MergeRules
    from wsgi_sessions.core.record.envelope import Envelope
    from wsgi_sessions.core.record.repeats import Repeats
    from wsgi_sessions.core.record.tombstones import Tombstone
    from wsgi_sessions.core.values.references import Encode
    from wsgi_sessions.mutex import Fence

Move = Literal["cycle", "rights", "login"]
"""The reason for another id: for its own sake, for other rights, or for a log-in."""
HeadersState = Literal["open", "closed"]
"""Whether a cookie can still go out with the response's headers."""
PRINCIPAL = "principal"
CHAIN = "chain"
LIFETIME = "lifetime"
EARLY = "early"
"""Metadata key of a session that began with its visitor's first page, before it held anything."""
APPLICATION = "application"
"""Metadata key of the name of the application that began the session; several may share a store."""
KEEP_ALIVE = "keep alive"
REFRESHED = "refreshed"
FAILURES = "refresh failures"
TRIED = "refresh tried"
_PRINCIPAL_BITS = 1024
_NO_KEYS: frozenset[str] = frozenset()
_NOTHING: Mapping[str, Raw] = MappingProxyType({})
LOGGED_OUT = Cause("logged-out")
SUPERSEDED = Cause("superseded")


@texts.shows("version", "expires_at")
class Snapshot(Struct, frozen=True, gc=False):
    """A stored session as it was read: the base of all changes of a request."""

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
    """Return the principal that a session is bound to, as text. Raises CorruptRecord."""
    principal = envelope.get_metadata(PRINCIPAL)
    return None if principal is None else str(principal)


def is_of(envelope: Envelope, application: str | None) -> bool:
    """Return whether a session may belong to this application: it names no other one.

    None stands for all applications. Raises CorruptRecord.
    """
    return application is None or envelope.get_metadata(APPLICATION) in (None, application)


def check_principal(principal: str | int, path: str) -> None:
    """Raise UnserializableValue for an empty principal, or a number too long to write out."""
    if type(principal) not in (str, int) or principal == "":
        raise UnserializableValue(path, "must be a non-empty str, or an int")
    if isinstance(principal, int) and principal.bit_length() > _PRINCIPAL_BITS:
        raise UnserializableValue(path, f"a principal has {_PRINCIPAL_BITS} bits at most")


def chain_of(session: Snapshot) -> str:
    """Return the constant of a session through all its ids: the store key of the first id."""
    chain = session.envelope.get_metadata(CHAIN)
    return session.key if chain is None else str(chain)


def _operate_on_nothing(data: Workspace, key: str, operation: Operation) -> None:
    if isinstance(operation, Append):
        data.append(key, decode(operation.item))
    else:
        data.increment(key, operation.by)


@texts.shows("unless_asked")
class OutOfReach(NamedTuple):
    """A reason not to begin a session here; `unless_asked`: except by a log-in or `cycle_id`."""

    reason: str
    unless_asked: bool = False


@texts.shows("cycling")
class Draft(Struct, eq=False):
    """A snapshot (None: nothing is stored yet) with changes on top.

    `data`: the application's keys. `metadata`: what this package keeps about the session.
    `cycling`: why the session gets a new id, if it does. `is_flushed`: there was a log-out.
    `doomed`: what the commit destroys, because of `doom`. `is_gone`: a later look at the store
    found the snapshot destroyed.

    `repeats`: the tokens of its commits, if the client may repeat the request. `fence`: goes with
    its saves while the session's mutex is held. `planted`: keys that its commit deletes, even if
    another request has set them since: it may be an attacker's.

    `superseded`: the tombstone that the request found in place of its session. The request is then
    anonymous: it can log a user in or out, but store nothing else. The same holds if its session is
    `withheld`.

    `fault`: why the session could not be read or kept. It reads as empty, and storing raises the
    fault.

    `out_of_reach`: why no session can begin here: its cookie would not come back.
    """

    snapshot: Snapshot | None
    superseded: Tombstone | None = None
    data: Workspace = None  # type: ignore[assignment]  # until __post_init__
    _metadata: Workspace | None = None
    _encode: Encode = encode
    cycling: Move | None = None
    planted: frozenset[str] = _NO_KEYS
    is_gone: bool = False
    doomed: list[Snapshot | Tombstone] = []
    doom: Cause = LOGGED_OUT
    is_flushed: bool = False
    fence: Fence | None = None
    repeats: Repeats | None = None
    out_of_reach: OutOfReach | None = None
    withheld: Snapshot | None = None
    fault: SessionError | None = None

    def __post_init__(self) -> None:
        snapshot = self.snapshot
        self.data = Workspace(_NOTHING if snapshot is None else snapshot.envelope.data)

    def accept(self, encode: Encode) -> None:
        """Encode values with this function from now on: frameworks flatten subclasses."""
        self._encode = encode
        self.data.encode = encode

    def adopt(self, snapshot: Snapshot | None) -> None:
        """Reset to `snapshot`, dropping changes; keep pending deletions."""
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
        """Go on from `snapshot`, which holds all changes: they are committed."""
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

    def rebase(self, snapshot: Snapshot, rules: MergeRules | None = None) -> None:
        """Put the pending changes onto a fresher snapshot."""
        self.metadata.rebase(snapshot.envelope.metadata)
        envelope = snapshot.envelope
        others: Set[str] = (
            frozenset() if self.snapshot is None else reassigned(self.snapshot.envelope, envelope)
        )
        self.snapshot = snapshot
        self.data.rebase(envelope.data, others, rules)

    def checkpoint(self) -> Checkpoint:
        """Return the pending changes, for `restore`."""
        data, metadata = self.data.delta(), self.metadata_delta()
        doomed = [*self.doomed]
        return Checkpoint(
            self.snapshot, self.cycling, self.planted, doomed, self.data, data, metadata
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Undo the changes since the checkpoint."""
        snapshot = checkpoint.snapshot
        self.adopt(snapshot)
        self.cycling, self.doomed = checkpoint.cycling, checkpoint.doomed
        self.planted = checkpoint.planted
        self.is_flushed = bool(self.doomed)
        self.data = checkpoint.workspace  # the application still holds values from before a log-out
        self.data.restore({} if snapshot is None else snapshot.envelope.data, checkpoint.data)
        self.metadata.restore(
            {} if snapshot is None else snapshot.envelope.metadata, checkpoint.metadata
        )

    def flush(self, doom: Cause = LOGGED_OUT) -> None:
        """Mark the stored session for destruction, and go on with an empty one."""
        doomed = self.snapshot or self.superseded or self.withheld
        if doomed is not None:
            self.doomed.append(doomed)
            self.doom = doom
        self.superseded = self.withheld = None
        self.is_flushed = True
        self.adopt(None)

    def begin_empty(self) -> None:
        """Have a new session stored, even if it is empty."""
        if self.snapshot is None and self.fault is None:
            self.set_metadata(EARLY, True)  # noqa: FBT003  # the value that is kept

    def discard(self) -> None:
        """Go back to the stored session as it was read, or committed last."""
        stored = self.doomed[0] if self.doomed else self.snapshot
        self.doomed, self.is_flushed = [], False
        self.adopt(stored if isinstance(stored, Snapshot) else None)
        self.superseded = None if isinstance(stored, Snapshot) else stored or self.superseded

    def give_up(self, fault: SessionError) -> None:
        """Read as empty from now on: see `fault`."""
        self.adopt(None)
        self.fault = fault

    def withhold(self) -> None:
        """Hide the session from the request, from its first access on."""
        self.withheld = self.snapshot
        self.adopt(None)

    def give_up_withheld(self) -> None:
        """Mark the withheld session for destruction: a log-in takes its place."""
        if self.withheld is not None:
            self.doomed.append(self.withheld)
            self.doom = SUPERSEDED
            self.withheld, self.is_flushed = None, True

    def restart(self) -> None:
        """Mark the stored session for destruction, and go on with what this request made alone.

        That is what it assigned without reading a stored value, and what it added by typed
        operations. A value that it read before, or changed in place, may hold data of the former
        user.
        """
        own = {k: c for k, c in self.data.delta().items() if self._is_own(k, c)}
        values = {key: self.data.peek(key) for key in own}
        self.flush(SUPERSEDED)
        for key, change in own.items():
            if isinstance(change, Operate):
                for operation in change.operations:
                    _operate_on_nothing(self.data, key, operation)
            else:
                self.data.set(key, values[key])

    def _is_own(self, key: str, change: Change) -> bool:
        """Return whether a change holds nothing that was stored before."""
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

    @property
    def logs_in(self) -> bool:
        """Whether a user logs in with this request."""
        return self.cycling == "login"

    def metadata_delta(self) -> Delta:
        """Return the changes of the metadata."""
        return {} if self._metadata is None else self._metadata.delta()

    def is_changed(self) -> bool:
        """Return whether there is something to commit."""
        return bool(self.is_flushed or self.cycling or self.data.delta() or self.metadata_delta())

    def may_be_changed(self) -> bool:
        """Like `is_changed`; true if a value cannot be stored, which may have failed a request."""
        try:
            return self.is_changed()
        except SessionError:
            return True

    def is_repeated(self) -> bool:
        """Return whether the client sent this request again, after an earlier one was stored."""
        if self.repeats is None or self.snapshot is None:
            return False
        return self.repeats.was_stored(each.token for each in self.snapshot.envelope.commits)

    def is_new(self) -> bool:
        """Return whether nothing is stored yet; an early session holds nothing either."""
        if self.snapshot is None:
            return True
        envelope = self.snapshot.envelope
        return not envelope.data and envelope.metadata.keys() - {APPLICATION} == {EARLY}
