"""Faults of the holder of a session's lock."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from histories.trap import MOMENTS

if TYPE_CHECKING:
    from histories.faults.scene import Scene

LOCK_SECONDS = 1.0  # of a lock's life, instead of 30
_PATIENCE = 3.0  # until somebody enters a block


def stop(scene: Scene) -> None:
    """SIGSTOP one inside its exclusive block, for longer than its lock lives; then it goes on.

    Where the kernel keeps the lock, it stands still together with its holder, and others wait.
    """
    trap, until = scene.trap, time.monotonic() + _PATIENCE
    trap.set(scene.rng.choice(MOMENTS))
    try:
        while trap.caught() is None and time.monotonic() < until:
            time.sleep(0.005)
        if trap.caught() is not None:
            scene.linger(LOCK_SECONDS * 1.2, LOCK_SECONDS * 2.5)
    finally:
        trap.clear()
