"""Stamps: the assignment that the container under a key stems from. Pure.

A container that is changed in place is merged with others' changes of it, but never with another
container that was assigned since: that would give a value that no request wrote. So a commit that
assigns a container leaves its token beside it, for as long as that container stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from wsgi_sessions.core.record.containers import kind_of
from wsgi_sessions.core.record.envelope import NO_STAMPS
from wsgi_sessions.errors import CorruptRecord

if TYPE_CHECKING:
    from collections.abc import Set

    from wsgi_sessions.core.merge.delta import Delta, Merged
    from wsgi_sessions.core.record.envelope import Envelope

_decoder = msgspec.msgpack.Decoder(dict[str, bytes])
_encoder = msgspec.msgpack.Encoder()


def reassigned(base: Envelope, theirs: Envelope) -> Set[str]:
    """Return the keys whose container in `theirs` is not the one of `base`, changed in place.

    Raises CorruptRecord.
    """
    if base.stamps == theirs.stamps:
        return frozenset()
    return {key for key, _ in _decoded(base.stamps).items() ^ _decoded(theirs.stamps).items()}


def stamped(stamps: Raw, delta: Delta, merged: Merged, token: bytes) -> Raw:
    """Return the stamps after the commit of a delta. Raises CorruptRecord."""
    data, wholes = merged.data, merged.wholes
    kept = {} if stamps == NO_STAMPS else _decoded(stamps)
    if not (wholes or kept):
        return stamps
    is_changed = False
    for key in delta:
        if key in wholes and kind_of(data[key]) is not None:
            kept[key] = token
            is_changed = True
        elif key in kept and (key in wholes or key not in data):
            del kept[key]
            is_changed = True
    return Raw(_encoder.encode(kept)) if is_changed else stamps


def _decoded(stamps: Raw) -> dict[str, bytes]:
    try:
        return _decoder.decode(stamps)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise CorruptRecord(f"its stamps do not decode ({type(error).__name__})") from error
