"""Replay: a change that was merged onto another base, kept pending. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.core.merge.delta import Assign, Mutate, Operate
from wsgi_sessions.core.record.codec import decode, encode

if TYPE_CHECKING:
    from wsgi_sessions.core.merge.delta import Change, Merged
    from wsgi_sessions.core.values.workspace import Workspace

_EMPTY_LIST = encode([])


def redo(data: Workspace, key: str, change: Change, merged: Merged, *, is_stored: bool) -> None:
    """Keep a change pending in `data`, on another base now. `is_stored`: that has the key."""
    if key not in merged.data:
        data.delete(key)
        return
    value, is_whole = decode(merged.data[key]), key in merged.wholes
    if isinstance(change, Operate) and (not is_whole or not is_stored):
        data.put(key, value)
        data.resume(key, change.operations)
    elif isinstance(change, Mutate) and not is_whole:
        data.put(key, value)
    elif isinstance(change, Mutate) and not is_stored:
        data.default(key, decode(change.default or _EMPTY_LIST))
        data.put(key, value)
    elif isinstance(change, Assign) and change.basis == "default":
        data.default(key, value)
    else:  # also a change that stands as a conflict, though its base is gone
        if not isinstance(change, Assign):
            _ = key in data  # a read: it holds data of that time, maybe a former user's
        data.set(key, value)
