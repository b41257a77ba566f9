"""Every error of the package, in one shallow tree.

An error says what happened, to what, and what to do. It carries the facts as attributes, so that a
handler never has to parse a message. No message holds a session id, a whole store key or a value;
what a client may have chosen, such as a key, is escaped and cut (see `wsgi_sessions.texts`).

What a WSGI client sees: `StoreUnavailable` and `CorruptRecord` become 503, `SessionConflict`
becomes 409; every other error is the application's own and is raised to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions import texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wsgi_sessions.contract import Record
    from wsgi_sessions.core.merge.conflict import Conflict
    from wsgi_sessions.core.record.tombstones import Tombstone


class SessionError(Exception):
    """Anything that this package raises on purpose."""

    def __init__(self, message: str = "") -> None:
        super().__init__(texts.shown(message))


class ConfigurationError(SessionError, ValueError):
    """A setting is wrong. The message names it, its value (secrets hidden) and what is allowed.

    With several faults it has a line for each.
    """

    def __init__(self, message: str = "") -> None:
        super(SessionError, self).__init__(texts.lines(message))


class StoreUnavailable(SessionError):
    """The store could not answer within its deadline. The session is neither lost nor empty.

    `operation` is the store call, `key` the *short* form of the store key (or None), `attempts` how
    often it was tried. The fault itself is the `__cause__`, without the frames of a driver.
    `in_doubt`: an answer was lost, so that nobody can tell whether what was to be written was, or
    yet will be.
    """

    in_doubt = False

    def __init__(
        self, message: str, *, operation: str = "", key: str | None = None, attempts: int = 1
    ) -> None:
        super().__init__(message)
        self.operation = operation
        self.key = key
        self.attempts = attempts


class WriteInDoubt(StoreUnavailable):
    """No answer came to a `create`: nobody can tell whether it was done, or will be, later.

    It must not be tried again under the same key: what comes late would bring back a session that
    was destroyed in between. `may_try_another`: there is time for another one, under another key.
    """

    in_doubt = True

    may_try_another = False


class LockTimeout(StoreUnavailable):
    """`exclusive()` waited its whole time-out for another holder. Try again later."""


class TooManyWaiting(LockTimeout):
    """As many requests as may wait for this session already, in this process. Nothing was waited.

    So a client that sends one request after another to a session that is held keeps but a few
    workers busy. Answered with 503, or 429 where ``WSGI_SESSIONS_BUSY_STATUS`` says so.
    """


class LockLost(StoreUnavailable):
    """An `exclusive` block took so long, or a failover fell into it, that its lock was lost.

    Others may have run at the same time, so nothing of the block was stored. Try again.
    """


class TooManySessions(StoreUnavailable):
    """The store holds as many sessions as it may: none is made for a visitor without a user.

    Those that are there stay, and users can log in. See ``WSGI_SESSIONS_MAX_SESSIONS``.
    """


class UnsupportedFormat(StoreUnavailable):
    """A record of a newer format version, as in a rolling deploy. It is left as it is."""


class SessionExists(SessionError):
    """`create` met a record under this key. Nothing was written."""


class SessionGone(SessionError):
    """`save` met no record: it was destroyed or has expired. A save never creates."""


class SessionSuperseded(SessionGone):
    """The session was given another id by a log-in, or another change of rights, meanwhile.

    `tombstone` says where it goes on. What was changed under the old id never gets there.
    """

    def __init__(self, tombstone: Tombstone) -> None:
        super().__init__("the session was given another id by a log-in meanwhile")
        self.tombstone = tombstone


class VersionConflict(SessionError):
    """`save` met another version. `current` is the record as it now stands; nothing was written.

    `is_after_retry`: a first try got no reply, so that `current` may be what that one had written.
    """

    def __init__(self, current: Record, *, is_after_retry: bool = False) -> None:
        super().__init__(f"the record is at version {current.version}")
        self.current = current
        self.is_after_retry = is_after_retry


class CorruptRecord(SessionError):
    """Bytes that are no valid record of this session. `reason` says what is wrong with them."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"corrupt session record: {reason}")
        self.reason = reason


class UnserializableValue(SessionError, TypeError):
    """A value that a session cannot hold. `path` leads to it, as in ``cart[2].price``.

    A client may have chosen the keys in it, so it is escaped, and cut if it is long.
    """

    def __init__(self, path: str, why: str) -> None:
        self.path = texts.named(path)
        super().__init__(f"session value {self.path}: {why}")


class SessionTooLarge(SessionError, ValueError):
    """The session would exceed its size limit, in bytes. The stored record is intact.

    `heaviest` are the keys whose values take most, each with its size in bytes, heaviest first.
    """

    def __init__(
        self,
        size: int,
        limit: int,
        setting: str = "WSGI_SESSIONS_MAX_SIZE",
        heaviest: Sequence[tuple[str, int]] = (),
    ) -> None:
        keys = ", ".join(f"{texts.named(key)} ({weight} bytes)" for key, weight in heaviest)
        super().__init__(
            f"the session would take {size} bytes, over its limit of {limit}: keep large data "
            f"elsewhere and a reference in the session, or raise {setting}"
            f"{keys and f'; heaviest are {keys}'}"
        )
        self.size = size
        self.limit = limit
        self.heaviest = tuple(heaviest)


class SessionConflict(SessionError):
    """Two requests changed the same key and `on_conflict="raise"`. Nothing was written."""

    def __init__(self, conflicts: Sequence[Conflict]) -> None:
        keys = ", ".join(sorted({texts.named(conflict.key) for conflict in conflicts}))
        super().__init__(f"changed by another request meanwhile: {keys}; read again and retry")
        self.conflicts = tuple(conflicts)


class StaleValue(SessionError, RuntimeError):
    """An object was changed that the session has no longer, and the change could not be merged.

    It had been read from the session, or put there, before an `exclusive` block, `commit()` or the
    first chunk, and its place, or the key, has another value since. Nothing was written.
    """

    def __init__(self, key: str) -> None:
        self.key = texts.named(key)
        super().__init__(
            f"the object of key {self.key} was changed after an exclusive block or a commit, but "
            "the session has another one by now: read it from the session again"
        )


class ImportRefused(SessionError):
    """A session of another library cannot be taken over as a whole. It is left as it is.

    `reason` says what is in the way, without a value of it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"a session cannot be imported: {reason}")
        self.reason = reason


class HeadersAlreadySent(SessionError, RuntimeError):
    """The change needs a cookie, but the response's headers have left."""


def bare(error: BaseException) -> BaseException:
    """The error as a cause that takes one line of a log: without the frames that it came through,
    which are a driver's, and without what that had caught before."""
    error.__cause__ = error.__context__ = error.__traceback__ = None
    return error
