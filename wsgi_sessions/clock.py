"""The clock that expiry and lifetimes go by, and the one that deadlines do.

`wall_clock` looks ``time.time`` up at each call: what replaces it in tests (freezegun,
time-machine, ``monkeypatch``) counts everywhere. Deadlines go by the system's own monotonic clock,
which nothing replaces: a wait under a clock that stands still would have no end.
"""

from __future__ import annotations

import time

_SYSTEM = (time.time, time.monotonic)  # freezegun replaces what is an attribute of a module
_system_time, _system_monotonic = range(2)


def wall_clock() -> float:
    """Seconds since the epoch, as the application's code sees them."""
    return time.time()


def system_clock() -> float:
    """Seconds since the epoch as the system has them: to compare with times of files."""
    return _SYSTEM[_system_time]()


def monotonic() -> float:
    """Seconds for deadlines, from an arbitrary moment on."""
    return _SYSTEM[_system_monotonic]()
