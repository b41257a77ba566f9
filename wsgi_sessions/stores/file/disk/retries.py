"""Operations on files, repeated as a whole after a fault of the system.

A retry begins with a fresh look-up of the path: the file may have been removed or replaced since.
"""

from __future__ import annotations

import errno
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from wsgi_sessions import texts
from wsgi_sessions.errors import StoreUnavailable, bare
from wsgi_sessions.identity import short_key
from wsgi_sessions.stores.file.disk.owners import refused_because
from wsgi_sessions.stores.file.disk.room import remedy_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

NO_WRITES = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT)
"""The errors of a system that refuses writes; operations that only read can go on."""
_RETRY_DELAYS = (0.0, 0.005, 0.02)  # seconds; the tries are one more than the delays
_log = texts.log(__name__)


def retrying(operation: str, key: str, action: Callable[..., T], *args: object) -> T:
    """Run `action(key, *args)`, again after an OSError; at last raise StoreUnavailable from it.

    A transient fault (ESTALE, EIO, EMFILE, ENOSPC, …) costs a few milliseconds and a log line.
    """
    try:
        return action(key, *args)
    except OSError as error:
        return retry(error, operation, key, action, *args)


def retry(error: OSError, operation: str, key: str, action: Callable[..., T], *args: object) -> T:
    """Go on like `retrying` after a first `error`.

    Reads and saves of sessions make the first attempt themselves: they are frequent and seldom
    fail.
    """
    for attempt, delay in enumerate(_RETRY_DELAYS, 1):
        time.sleep(delay)
        try:
            done = action(key, *args)
        except OSError as another:
            error = another
        else:
            _log_fault(error, operation, key, attempt)
            return done
    attempts = len(_RETRY_DELAYS) + 1  # the exception alone says so
    raise _unavailable(operation, key, error, attempts) from bare(error)


def once(operation: str, key: str, action: Callable[..., T], *args: object) -> T:
    """Like `retrying`, for operations that no request waits for.

    Where no writes are taken, it does not repeat them, and only the exception reports it.
    """
    try:
        return action(key, *args)
    except OSError as error:
        if error.errno in NO_WRITES:
            raise _unavailable(operation, key, error, 1) from bare(error)
        return retry(error, operation, key, action, *args)


@contextmanager
def folder_fault(operation: str) -> Iterator[None]:
    """Turn the system's error about the folder as a whole into StoreUnavailable."""
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(
            f"the session folder cannot be used: {operation} failed with {error.strerror}. "
            f"{_advice(error)}",
            operation=operation,
        ) from bare(error)


def _log_fault(error: OSError, operation: str, key: str, attempt: int) -> None:
    _log.warning(
        "session %s: %s failed with %s (%s), attempt %d",
        short_key(key),
        operation,
        errno.errorcode.get(error.errno or 0, "?"),
        error.strerror,
        attempt,
    )


def _unavailable(operation: str, key: str, error: OSError, attempts: int) -> StoreUnavailable:
    return StoreUnavailable(
        f"the file of session {short_key(key)} cannot be used: {operation} failed {attempts} "
        f"times, last with {error.strerror}; the session is as it was. {_advice(error)}",
        operation=operation,
        key=short_key(key),
        attempts=attempts,
    )


def _advice(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return remedy_at(error.filename)
    if error.errno in (errno.EACCES, errno.EPERM) and (owned := refused_because(error)):
        return f"The cause: {owned}."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Give the worker's user write access to the session folder."
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "Raise the limit of open files (ulimit -n)."
    return "Check the file system and its mount."
