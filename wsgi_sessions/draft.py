"""What one request has made of a session so far: the snapshot it read, and its changes. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from msgspec import Struct

from wsgi_sessions import texts
from wsgi_sessions.merge import ABSENT, Append, Operate
from wsgi_sessions.serialization import decode, encode
from wsgi_sessions.workspace import Workspace

if TYPE_CHECKING:
    from wsgi_sessions.merge import Delta, Operation
    from wsgi_sessions.serialization import Envelope
    from wsgi_sessions.tombstones import Tombstone
    from wsgi_sessions.workspace import Encode

Move = Literal["cycle", "rights", "login"]
"""Why a session shall get another id: for its own sake, for other rights, for a log-in."""
Headers = Literal["open", "closed"]
"""Whether a cookie can still go out with the response's headers."""
PRINCIPAL = "principal"
LIFETIME = "lifetime"
KEEP_ALIVE = "keep alive"
REFRESHED = "refreshed"
FAILURES = "refresh failures"


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
    doomed: list[Snapshot | Tombstone]
    data: Delta
    marks: Delta


def principal_of(envelope: Envelope) -> str | None:
    """The text of the principal that a session is bound to. Raises CorruptRecord."""
    principal = mark_of(envelope, PRINCIPAL)
    return None if principal is None else str(principal)


def mark_of(envelope: Envelope, name: str) -> Any:
    """A mark of a session as it is stored, or None. Raises CorruptRecord."""
    mark = envelope.marks.get(name)
    return None if mark is None else decode(mark)


def _operate_on_nothing(data: Workspace, key: str, operation: Operation) -> None:
    if isinstance(operation, Append):
        data.append(key, decode(operation.item))
    else:
        data.increment(key, operation.by)


class Draft:
    """A snapshot (None: nothing is stored yet) with changes on top.

    `data` are the application's keys, `marks` what this package keeps about the session, `cycling`
    says why it shall get a new id, if it shall, `is_flushed` that there was a log-out, `doomed` is
    what it shall destroy, `is_gone` that a later look at the store found the snapshot destroyed.

    `superseded` is the tombstone that the request found in place of its session: it is anonymous,
    and can log somebody in or out, but store nothing else.
    """

    __slots__ = (
        "_encode",
        "_marks",
        "cycling",
        "data",
        "doomed",
        "is_flushed",
        "is_gone",
        "snapshot",
        "superseded",
    )

    def __init__(self, snapshot: Snapshot | None, superseded: Tombstone | None = None) -> None:
        self.doomed: list[Snapshot | Tombstone] = []
        self.is_flushed = False
        self.superseded = superseded
        self._encode: Encode = encode
        self.adopt(snapshot)

    def accept(self, encode: Encode) -> None:
        """Take values as this encodes them, from now on: frameworks flatten subclasses."""
        self._encode = encode
        self.data.accept(encode)

    def adopt(self, snapshot: Snapshot | None) -> None:
        """See this snapshot, without changes; what is doomed stays doomed."""
        self.snapshot = snapshot
        self.cycling: Move | None = None
        self.is_gone = False
        stored = {} if snapshot is None else snapshot.envelope.data
        self.data = Workspace(stored, self._encode)
        self._marks: Workspace | None = None

    @property
    def marks(self) -> Workspace:
        """The marks, to change them; most requests only look at one with `mark`."""
        if self._marks is None:
            self._marks = Workspace({} if self.snapshot is None else self.snapshot.envelope.marks)
        return self._marks

    def advance(self, snapshot: Snapshot) -> None:
        """All that was changed is committed: it is in this snapshot."""
        self.snapshot = snapshot
        self.cycling = None
        self.data.reset(snapshot.envelope.data)
        self._marks = None

    def settle(self, snapshot: Snapshot) -> None:
        """Data and some of the marks are committed, in this snapshot; the rest stays pending."""
        self.snapshot = snapshot
        self.data.reset(snapshot.envelope.data)
        if self._marks is not None:
            self._marks.settle(snapshot.envelope.marks)

    def rebase(self, snapshot: Snapshot) -> None:
        """Put the pending changes onto a fresher snapshot."""
        self.marks.rebase(snapshot.envelope.marks)
        self.snapshot = snapshot
        self.data.rebase(snapshot.envelope.data)

    def checkpoint(self) -> Checkpoint:
        """What is pending now, to go back to with `restore`."""
        return Checkpoint(
            self.snapshot, self.cycling, [*self.doomed], self.data.delta(), self.marks_delta()
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Undo what was changed since the checkpoint."""
        self.adopt(checkpoint.snapshot)
        self.cycling, self.doomed = checkpoint.cycling, checkpoint.doomed
        self.is_flushed = bool(self.doomed)
        self.data.restore(checkpoint.data)
        self.marks.restore(checkpoint.marks)

    def flush(self) -> None:
        """Doom what is stored, and begin anew with nothing."""
        doomed = self.snapshot or self.superseded
        if doomed is not None:
            self.doomed.append(doomed)
        self.superseded = None
        self.is_flushed = True
        self.adopt(None)

    def begin_anew(self) -> None:
        """Doom what is stored, and begin again with what this request made by itself.

        That is what it assigned without a look at a stored value, and what it added by typed
        operations. A value that it read before, or changed in place, may hold what belongs to the
        former user.
        """
        stored = {} if self.snapshot is None else self.snapshot.envelope.data
        changes = self.data.delta()
        values = {key: self.data.peek(key) for key in changes}
        self.flush()
        for key, change in changes.items():
            if isinstance(change, Operate):
                for operation in change.operations:
                    _operate_on_nothing(self.data, key, operation)
            elif change.value is not None and (change.basis != "read" or key not in stored):
                self.data.set(key, values[key])

    def mark(self, name: str) -> Any:
        """A mark, or None."""
        if self._marks is None:
            data = None if self.snapshot is None else self.snapshot.envelope.marks.get(name)
            return None if data is None else decode(data)
        value = self._marks.get(name)
        return None if value is ABSENT else value

    def set_mark(self, name: str, value: object) -> None:
        """Set a mark, if it is another; None removes it."""
        if value is not None:
            self.marks.put(name, value)
        elif name in self.marks:
            self.marks.delete(name)

    def marks_delta(self) -> Delta:
        """What has changed of the marks."""
        return {} if self._marks is None else self._marks.delta()

    def is_changed(self) -> bool:
        """Whether there is something to commit."""
        return bool(self.is_flushed or self.cycling or self.data.delta() or self.marks_delta())
