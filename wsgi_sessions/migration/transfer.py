"""The record of a session while it moves to another store (see `migration.mover`). Pure.

It begins with a byte above every format of a session record: a release or configuration that does
not know of the move answers 503 (`UnsupportedFormat`) and leaves the record as it is.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from wsgi_sessions import texts

TransferState = Literal["claimed", "pending", "moved"]

_MAGIC = b"\xffmoving\n"
_STATES: tuple[TransferState, ...] = ("claimed", "pending", "moved")
_TOKEN_BYTES = 8
_HEADER_BYTES = len(_MAGIC) + 1 + _TOKEN_BYTES


@texts.shows("state")
class Transfer(NamedTuple):
    """A record in transit.

    - ``claimed``, in the old store: no request saves the session any more; `payload` is its last
      state.
    - ``pending``, in the new store: `payload` becomes the session when the old store confirms it.
    - ``moved``, in the old store: confirms the pending record with the same `token`; no payload.
    """

    state: TransferState
    token: bytes
    payload: bytes = b""

    def pack(self) -> bytes:
        """Return the payload of the record."""
        return _MAGIC + bytes((_STATES.index(self.state),)) + self.token + self.payload


def is_transfer(payload: bytes) -> bool:
    """Return whether a payload is that of a session in transit."""
    return payload.startswith(_MAGIC)


def unpack(payload: bytes) -> Transfer:
    """Return the transfer that `Transfer.pack` packed."""
    state = _STATES[payload[len(_MAGIC)]]
    return Transfer(state, payload[len(_MAGIC) + 1 : _HEADER_BYTES], payload[_HEADER_BYTES:])
