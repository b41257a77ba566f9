"""The clock for expiry and lifetimes, and the clock for deadlines.

`wall_clock` looks up ``time.time`` at each call, so that its replacements in tests (freezegun,
time-machine, ``monkeypatch``) count everywhere. Deadlines use the system's monotonic clock, which
nothing replaces: a wait under a clock that stands still would never end.
"""

from __future__ import annotations

import time
from functools import partial

# Partial, since freezegun replaces the functions themselves wherever a module has them.
monotonic = partial(time.monotonic)
"""Return seconds for deadlines, counted from an arbitrary moment."""
system_clock = partial(time.time)
"""Return the seconds since the epoch by the system, for comparison with the times of files."""


def wall_clock() -> float:
    """Return the seconds since the epoch, as the application's code sees them."""
    return time.time()
