"""Requests that a client sends again, known by a token that it chose for what it wants done."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

TOKEN_BYTES = 16
"""How long the token of a commit is that is known again, unlike one that is random."""
_SHORTEST, _LONGEST = 8, 200


class Repeats:
    """The tokens of a request's commits, the same for each time that the request is sent."""

    __slots__ = ("_number", "_seed", "_was_stored")

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._number = 0
        self._was_stored = False

    def was_stored(self, tokens: Iterable[bytes]) -> bool:
        """Whether the request was stored before, if these are the tokens of what is stored now."""
        if self._number == 0:  # later, the first commit may be this time's own
            self._was_stored = self._token(0) in tokens
        return self._was_stored

    @property
    def token(self) -> bytes:
        """The token of the commit that is to be made now, as often as it is tried."""
        return self._token(self._number)

    def advance(self) -> None:
        """That one is made."""
        self._number += 1

    def _token(self, number: int) -> bytes:
        return hashlib.sha256(b"%d:%b" % (number, self._seed)).digest()[:TOKEN_BYTES]


def repeats_of(value: str | None, *request: str) -> Repeats | None:
    """What a header's value stands for, together with what else makes a `request` the same one.

    None if there is none, or one that is no token: 8 to 200 visible ASCII characters.
    """
    if value is None or not _SHORTEST <= len(value) <= _LONGEST:
        return None
    if not (value.isascii() and value.isprintable()):
        return None
    words = "\0".join((value, *request))
    return Repeats(hashlib.sha256(words.encode("utf-8", "surrogatepass")).digest())
