"""Replay: leaving a change pending that was merged onto another base. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.core.merge.delta import Assign, Mutate, Operate
from wsgi_sessions.core.record.codec import decode, encode

if TYPE_CHECKING:
    from wsgi_sessions.core.merge.delta import Change, Merged
    from wsgi_sessions.core.values.workspace import Workspace

_EMPTY_LIST = encode([])


def redo(data: Workspace, key: str, change: Change, merged: Merged, *, is_stored: bool) -> None:
    """Leave a change pending in `data`, whose base is another now. `is_stored`: it has the key."""
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
    else:  # also what stands as a conflict, though its base is no longer there
        if not isinstance(change, Assign):
            _ = key in data  # a look: it holds what was stored then, maybe of a former user
        data.set(key, value)
