"""Random tokens of commits, drawn by the hundred."""

from __future__ import annotations

import os
from collections import deque
from struct import Struct

from wsgi_sessions.forks import here, this_process

_BYTES = 8
_AT_ONCE = 512
_split = Struct(f"{_BYTES}s" * _AT_ONCE).unpack


class CommitTokens:
    """Draws random tokens of 8 bytes: one system call serves 512 commits.

    Thread-safe. A forked child draws its own; with those of its parent, a commit of one process
    could pass for a commit of the other.
    """

    __slots__ = ("_drawn", "_mark")

    def __init__(self) -> None:
        self._drawn: deque[bytes] = deque()
        self._mark = 0

    def draw(self) -> bytes:
        """Return a token that no commit has had."""
        if self._mark == here[0]:
            try:
                return self._drawn.popleft()
            except IndexError:  # none is left, or another thread took the last one
                pass
        return self._refill()

    def _refill(self) -> bytes:
        drawn = deque(_split(os.urandom(_BYTES * _AT_ONCE)))
        token: bytes = drawn.popleft()
        # In this order: with the mark of a child, no thread may see the tokens of its parent.
        self._drawn = drawn
        self._mark = this_process()
        return token
