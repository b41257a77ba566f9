"""Rules for anonymous sessions: a visitor needs no account to make many of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wsgi_sessions.core.draft import PRINCIPAL
from wsgi_sessions.core.record.codec import encode

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from msgspec import Raw

    from wsgi_sessions.core.record.envelope import Envelope

_EMPTY = frozenset(map(encode, (None, "", False, b"", {}, [], (), set(), frozenset())))
_LONGEST_EMPTY = max(map(len, _EMPTY))


@dataclass(frozen=True)
class AnonymousRules:
    """Limits of sessions without a principal, and without any of `login_keys`, which name a user.

    Args:
        idle: the most seconds that such a session lives without a request, even after
            `Session.remember`. None: as for all sessions.
        max_size: the most bytes that it may take. None: as for all sessions.
        login_keys: the application's own keys that name a user.
    """

    idle: float | None = None
    max_size: int | None = None
    login_keys: tuple[str, ...] = ()

    def hold_for(self, metadata: Container[str], data: Mapping[str, Raw]) -> bool:
        """Return whether a session with this metadata and these values belongs to no user.

        An empty value names no user: applications keep one for visitors.
        """
        return PRINCIPAL not in metadata and not any(
            key in data and _names_somebody(data[key]) for key in self.login_keys
        )

    def size_of(self, envelope: Envelope, max_size: int) -> int:
        """Return the most bytes for a session; `max_size` is the limit of all sessions."""
        if self.max_size is None or not self.hold_for(envelope.metadata, envelope.data):
            return max_size
        return min(self.max_size, max_size)


def _names_somebody(value: Raw) -> bool:
    encoded = memoryview(value)
    return encoded.nbytes > _LONGEST_EMPTY or bytes(encoded) not in _EMPTY
