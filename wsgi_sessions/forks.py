"""The mark of this process, which every request compares without a system call.

A forked child must use neither its parent's connections nor its threads. ``getpid`` tells them
apart, but is a system call (0.1 to 0.7 µs, up to three times per request). Hooks at a fork are not
enough: uWSGI forks without running Python's. So there is a page of memory that Linux itself empties
in a child (``MADV_WIPEONFORK``, Linux 4.14), as BoringSSL does too.
"""

from __future__ import annotations

import mmap
import os
import sys
from typing import Protocol

_WIPE_ON_FORK = 18  # MADV_WIPEONFORK of <sys/mman.h>, which the module mmap does not name
_MARKS = 255


class _Mark(Protocol):
    def __getitem__(self, index: int, /) -> int: ...


class _ProcessId:
    """The mark where no page is emptied: the process id."""

    def __getitem__(self, index: int, /) -> int:
        return os.getpid()


class _Page:
    """Makes the marks of one page: byte 0 is 0 in a child, until `renew`."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.memory.madvise(_WIPE_ON_FORK)  # OSError where the kernel does not know it
        self._last = 0
        self.renew()

    def renew(self) -> int:
        """Return the mark of this process, which is made at the first call after a fork."""
        if self.memory[0] == 0:
            self._last = self._last % _MARKS + 1  # of a parent's, which goes on with its own
            self.memory[0] = self._last
        return self.memory[0]


def _page() -> _Page | None:
    if sys.platform != "linux":
        return None
    try:
        return _Page()
    except (OSError, ValueError):
        return None


_ours = _page()
here: _Mark = _ProcessId() if _ours is None else _ours.memory
"""``here[0]`` is another number in a child than `this_process` was in its parent.

It may be 0 until the child calls `this_process`. A chain of 255 forks, each one in the child of the
last, begins again with the first number.
"""


def this_process() -> int:
    """Return the mark of this process, to compare with ``here[0]`` later; it is never 0."""
    return here[0] if _ours is None else _ours.renew()
