"""Size limits of sessions: what is refused, and what is reported before that. Pure."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

from wsgi_sessions import texts
from wsgi_sessions.core.record.envelope import seal
from wsgi_sessions.errors import SessionTooLarge

if TYPE_CHECKING:
    from wsgi_sessions.core.limits.anonymous import AnonymousRules
    from wsgi_sessions.core.record.envelope import Envelope

_NAMED = 3


@texts.shows("most")
class SizeRule(NamedTuple):
    """The limits of sessions' records, in bytes: `most` for all, and that of anonymous ones."""

    most: int
    anonymous: AnonymousRules

    @property
    def always_fine(self) -> int:
        """The size up to which any record is small, even an anonymous one."""
        return min(self.most, self.anonymous.max_size or self.most) // 2

    def limit(self, envelope: Envelope) -> int:
        """Return the most bytes for the record of this session."""
        return self.anonymous.size_of(envelope, self.most)

    def check(self, envelope: Envelope, size: int) -> None:
        """Raise SessionTooLarge if a record of so many bytes is too large for its session."""
        limit = self.limit(envelope)
        if size > limit:
            setting = "max_size" if limit == self.most else "anonymous_max_size"
            raise SessionTooLarge(size, limit, setting, heaviest(envelope))

    def has_grown_large(self, before: Envelope | None, after: Envelope, size: int) -> bool:
        """Return whether a session, now of `size` bytes, has just passed half of its limit.

        `before` is the session as it was; None if it is new.
        """
        if size <= self.always_fine or 2 * size <= self.limit(after):
            return False
        return before is None or 2 * len(seal(before, _KEY)) <= self.limit(before)


_KEY = "0" * 64  # a record is as long under any


def heaviest(envelope: Envelope, number: int = _NAMED) -> list[tuple[str, int]]:
    """Return the keys with the largest values, each with its size in bytes, largest first."""
    weighed = ((len(bytes(raw)), key) for key, raw in envelope.data.items())
    return [(texts.named(key), size) for size, key in heapq.nlargest(number, weighed)]
