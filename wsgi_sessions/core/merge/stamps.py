"""Stamps: the assignment that the container under a key stems from. Pure.

A container that is changed in place is merged with others' changes of it, but never with another
container that was assigned since: that would give a value that no request wrote. So a commit that
assigns a container leaves its token beside it, for as long as that container stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.core.record.containers import CONTAINERS, kind_of

if TYPE_CHECKING:
    from collections.abc import Set

    from wsgi_sessions.core.merge.delta import Delta, Merged
    from wsgi_sessions.core.record.envelope import Envelope


def reassigned(base: Envelope, theirs: Envelope) -> Set[str]:
    """Return the keys whose container in `theirs` is not the one of `base`, changed in place."""
    if base.stamps == theirs.stamps:
        return frozenset()
    return {key for key, _ in base.stamps.items() ^ theirs.stamps.items()}


def stamped(
    stamps: dict[str, bytes], delta: Delta, merged: Merged, token: bytes
) -> dict[str, bytes]:
    """Return the stamps after the commit of a delta: the same dictionary, or a new one."""
    data, wholes = merged.data, merged.wholes
    changed = stamps
    for key, change in delta.items():
        # A whole value is of the change's own type, and one look tells that it is a plain one.
        value = change.value if key in wholes else None
        if value and value[0] in CONTAINERS and kind_of(value) is not None:
            changed = {**changed, key: token}
        elif key in changed and (key in wholes or key not in data):
            changed = {name: stamp for name, stamp in changed.items() if name != key}
    return changed
