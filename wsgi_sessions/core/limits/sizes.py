"""How large sessions may be: what is refused, and what is reported before that. Pure."""

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
    """The limits of sessions' records, in bytes: `most` for all, and that of nobody's sessions."""

    most: int
    anonymous: AnonymousRules

    @property
    def always_fine(self) -> int:
        """A record of no more bytes than that is none to speak of, whoever's it is."""
        return min(self.most, self.anonymous.max_size or self.most) // 2

    def limit(self, envelope: Envelope) -> int:
        """How large the record of this session may be."""
        return self.anonymous.size_of(envelope, self.most)

    def check(self, envelope: Envelope, size: int) -> None:
        """Raise SessionTooLarge for a record of so many bytes, if it is."""
        limit = self.limit(envelope)
        if size > limit:
            setting = "max_size" if limit == self.most else "anonymous_max_size"
            raise SessionTooLarge(size, limit, setting, heaviest(envelope))

    def has_grown_large(self, before: Envelope | None, after: Envelope, size: int) -> bool:
        """Whether a session, of now `size` bytes, takes more than half of its limit, and did not
        `before` (None: it is new)."""
        if size <= self.always_fine or 2 * size <= self.limit(after):
            return False
        return before is None or 2 * len(seal(before, _KEY)) <= self.limit(before)


_KEY = "0" * 64  # a record is as long under any


def heaviest(envelope: Envelope, number: int = _NAMED) -> list[tuple[str, int]]:
    """The keys whose values take most bytes, each with how many; the heaviest first."""
    weighed = ((len(bytes(raw)), key) for key, raw in envelope.data.items())
    return [(texts.named(key), size) for size, key in heapq.nlargest(number, weighed)]
