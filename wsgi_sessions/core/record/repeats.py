"""Repeated requests, recognized by a token that the client chose for the operation."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_TOKEN_BYTES = 16
_SHORTEST, _LONGEST = 8, 200


class Repeats:
    """The tokens of a request's commits, the same each time that the client sends it."""

    __slots__ = ("_number", "_seed", "_was_stored")

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._number = 0
        self._was_stored = False

    def was_stored(self, tokens: Iterable[bytes]) -> bool:
        """Return whether the request was stored before, given the tokens that are stored now."""
        if self._number == 0:  # later, the first commit may be our own
            self._was_stored = self._token(0) in tokens
        return self._was_stored

    @property
    def token(self) -> bytes:
        """Return the token of the next commit; the same for every attempt at it."""
        return self._token(self._number)

    def advance(self) -> None:
        """Go on to the next commit: this one is made."""
        self._number += 1

    def _token(self, number: int) -> bytes:
        return hashlib.sha256(b"%d:%b" % (number, self._seed)).digest()[:_TOKEN_BYTES]


def repeats_of(value: str | None, *request: str) -> Repeats | None:
    """Return the identity of a repeated `request`: its header value, with its other traits.

    None if there is no value, or it is not a token: 8 to 200 visible ASCII characters.
    """
    if value is None or not _SHORTEST <= len(value) <= _LONGEST:
        return None
    if not (value.isascii() and value.isprintable()):
        return None
    words = "\0".join((value, *request))
    return Repeats(hashlib.sha256(words.encode("utf-8", "surrogatepass")).digest())
