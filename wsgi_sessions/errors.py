"""Every error of the package, in one shallow tree.

An error says what happened, to what, and what to do. Its attributes carry the facts: no handler has
to parse a message. No message holds a session id, a whole store key or a value; a text that a
client may have chosen, such as a key, is escaped and cut (see `wsgi_sessions.texts`).

A WSGI client sees `StoreUnavailable` and `CorruptRecord` as 503, and `SessionConflict` as 409.
Every other error is raised to the application.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from wsgi_sessions import texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wsgi_sessions.contract import Record
    from wsgi_sessions.core.merge.conflict import Conflict
    from wsgi_sessions.core.record.tombstones import Tombstone


class SessionError(Exception):
    """Base of all errors that this package raises on purpose.

    `cause` is one word for each kind of fault, as in metrics and events.
    """

    cause: ClassVar[str] = "other"

    def __init__(self, message: str = "") -> None:
        super().__init__(texts.shown(message))


class ConfigurationError(SessionError, ValueError):
    """A setting is wrong. The message names it, its value (secrets hidden) and the allowed values.

    Several faults have one line each.
    """

    def __init__(self, message: str = "") -> None:
        super(SessionError, self).__init__(texts.lines(message))


class StoreUnavailable(SessionError):
    """The store could not answer within its deadline. The session is neither lost nor empty.

    `operation` is the store call, `key` the *short* form of the store key (or None), `attempts` the
    number of attempts. `__cause__` is the fault itself, without the frames of a driver. `in_doubt`:
    an answer was lost, so the write may have happened, or may still happen.
    """

    cause = "store-unavailable"
    in_doubt = False

    def __init__(
        self, message: str, *, operation: str = "", key: str | None = None, attempts: int = 1
    ) -> None:
        super().__init__(message)
        self.operation = operation
        self.key = key
        self.attempts = attempts


class WriteInDoubt(StoreUnavailable):
    """A `create` got no answer: it may have happened, or may still happen later.

    The caller must not retry it under the same key: a late one would bring back a session that was
    destroyed in between. `may_try_another`: there is time for a create under another key.
    """

    cause = "write-in-doubt"
    in_doubt = True

    may_try_another = False


class LockTimeout(StoreUnavailable):
    """`exclusive()` waited its whole time-out for another holder. Try again later."""

    cause = "lock-timeout"


class TooManyWaiting(LockTimeout):
    """Too many requests of a process wait for one session; this one was refused at once.

    So a client that sends request after request to a held session occupies only a few workers.
    Answered with 503, or with 429 where the setting `busy_status` says so.
    """

    cause = "too-many-waiting"


class LockLost(StoreUnavailable):
    """An `exclusive` block lost its lock: it took too long, or the store failed over in it.

    Others may have run at the same time, so nothing of the block was stored. Try again.
    """

    cause = "lock-lost"


class TooManySessions(StoreUnavailable):
    """The store holds as many sessions as it may; no new one is made for an anonymous visitor.

    Existing sessions stay, and users can log in. See the setting `max_sessions`.
    """

    cause = "too-many-sessions"


class UnsupportedFormat(StoreUnavailable):
    """A record has a newer format version, as in a rolling deploy. It is left as it is."""

    cause = "unsupported-format"


class SessionExists(SessionError):
    """`create` found a record under this key. Nothing was written."""


class SessionGone(SessionError):
    """`save` found no record: it was destroyed or has expired. A save never creates."""


class SessionSuperseded(SessionGone):
    """A concurrent log-in, or another change of rights, gave the session another id.

    `tombstone` says where the session goes on. Changes under the old id never get there.
    """

    def __init__(self, tombstone: Tombstone) -> None:
        super().__init__("a concurrent log-in gave the session another id")
        self.tombstone = tombstone


class VersionConflict(SessionError):
    """`save` found another version. `current` is the record as it now stands; nothing was written.

    `is_after_retry`: the first attempt got no reply, so `current` may be its own write.
    """

    def __init__(self, current: Record, *, is_after_retry: bool = False) -> None:
        super().__init__(f"the record is at version {current.version}")
        self.current = current
        self.is_after_retry = is_after_retry


class CorruptRecord(SessionError):
    """Bytes that are not a valid record of this session; `reason` says why."""

    cause = "corrupt-record"

    def __init__(self, reason: str) -> None:
        super().__init__(f"corrupt session record: {reason}")
        self.reason = reason


class UnserializableValue(SessionError, TypeError):
    """A value that a session cannot hold. `path` leads to it, as in ``cart[2].price``.

    A client may have chosen the keys in it, so it is escaped, and cut if it is long.
    """

    cause = "unserializable"

    def __init__(self, path: str, why: str) -> None:
        self.path = texts.named(path)
        super().__init__(f"session value {self.path}: {why}")


class InvalidValue(SessionError, TypeError):
    """A value that does not fit the type of a field of a `SessionModel`. Nothing was set.

    `field` names the field, as ``Shop.cart``; `why` is what was expected, and the type that came.
    """

    cause = "invalid-value"

    def __init__(self, field: str, why: str) -> None:
        self.field = texts.named(field)
        self.why = why
        super().__init__(f"{self.field}: {why}")


class SessionTooLarge(SessionError, ValueError):
    """The session would exceed its size limit. The stored record is intact.

    `heaviest`: the keys with the largest values, each with its size in bytes, largest first.
    """

    cause = "too-large"

    def __init__(
        self,
        size: int,
        limit: int,
        setting: str = "max_size",
        heaviest: Sequence[tuple[str, int]] = (),
    ) -> None:
        keys = ", ".join(f"{texts.named(key)} ({weight} bytes)" for key, weight in heaviest)
        super().__init__(
            f"the session would take {size} bytes, over its limit of {limit}: keep large data "
            f"elsewhere and a reference to it in the session, or raise `{setting}`"
            f"{keys and f'; heaviest are {keys}'}"
        )
        self.size = size
        self.limit = limit
        self.heaviest = tuple(heaviest)


class SessionConflict(SessionError):
    """Two requests changed the same key and `on_conflict="raise"`. Nothing was written."""

    cause = "conflict"

    def __init__(self, conflicts: Sequence[Conflict]) -> None:
        keys = ", ".join(sorted({texts.named(conflict.key) for conflict in conflicts}))
        super().__init__(f"another request changed {keys} at the same time: read again and retry")
        self.conflicts = tuple(conflicts)


class StaleValue(SessionError, RuntimeError):
    """The application changed an object that the session no longer has, and it could not be merged.

    The object had been read from the session, or put there, before an `exclusive` block, `commit()`
    or the first chunk; its place, or its key, has had another value since. Nothing was written.
    """

    cause = "stale-value"

    def __init__(self, key: str) -> None:
        self.key = texts.named(key)
        super().__init__(
            f"the object of key {self.key} was changed after an exclusive block or a commit, but "
            "the session has another one by now: read it from the session again"
        )


class ImportRefused(SessionError):
    """A session of another library cannot be taken over as a whole. It is left as it is.

    `reason` says why, without any of its values.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"a session cannot be imported: {reason}")
        self.reason = reason


class HeadersAlreadySent(SessionError, RuntimeError):
    """The change needs a cookie, but the response's headers have already left."""

    cause = "headers-sent"


def bare(error: BaseException) -> BaseException:
    """Return the error as a one-line cause for a log.

    The frames that it came through, which are a driver's, are dropped, and so is the chain of
    causes.
    """
    error.__cause__ = error.__context__ = error.__traceback__ = None
    return error
