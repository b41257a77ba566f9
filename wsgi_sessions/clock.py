"""The clock for expiry and lifetimes, and the clock for deadlines.

`wall_clock` looks up ``time.time`` at each call, so that its replacements in tests (freezegun,
time-machine, ``monkeypatch``) count everywhere. Deadlines use the system's monotonic clock, which
nothing replaces: a wait under a clock that stands still would never end.
"""

from __future__ import annotations

import time

_SYSTEM = (time.time, time.monotonic)  # freezegun replaces what is an attribute of a module
_system_time, _system_monotonic = range(2)


def wall_clock() -> float:
    """Return the seconds since the epoch, as the application's code sees them."""
    return time.time()


def system_clock() -> float:
    """Return the seconds since the epoch by the system, for comparison with the times of files."""
    return _SYSTEM[_system_time]()


def monotonic() -> float:
    """Return seconds for deadlines, counted from an arbitrary moment."""
    return _SYSTEM[_system_monotonic]()
