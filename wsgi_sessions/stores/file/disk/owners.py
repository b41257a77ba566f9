"""The owners of paths, for messages about refused operations."""

from __future__ import annotations

import os

_LEVELS = 4  # a record, its shard, "sessions", the session folder


def user_name(uid: int) -> str:
    """Return a user for messages: the name, if there is one, and the number."""
    import pwd  # only faults need it

    try:
        return f"{pwd.getpwuid(uid).pw_name} ({uid})"
    except KeyError:
        return str(uid)


def refused_because(error: OSError) -> str | None:
    """Return which file or folder on the way to `error`'s belongs to another user, and what to do.

    None if none does, or if that is unknown.
    """
    path = error.filename
    for _ in range(_LEVELS):
        if not isinstance(path, str) or path in ("", "/"):
            return None
        uid = _owner_of(path)
        if uid is not None and uid != os.geteuid():
            return (
                f"{path} belongs to user {user_name(uid)}, and this process is user "
                f"{user_name(os.geteuid())}: inspect it, and chown it to that user"
            )
        path = os.path.dirname(path)
    return None


def _owner_of(path: str) -> int | None:
    try:
        return os.lstat(path).st_uid
    except OSError:
        return None  # missing, or behind a folder that keeps this process out
