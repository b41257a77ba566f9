"""Faults of gunicorn's workers."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from gunicorn_server import standing_still

if TYPE_CHECKING:
    from histories.faults.scene import Scene


def kill(scene: Scene) -> None:
    """SIGKILL one; gunicorn starts another."""
    os.kill(scene.rng.choice(scene.workers.workers()), signal.SIGKILL)
    scene.workers.wait_for_workers()


def stop(scene: Scene) -> None:
    """SIGSTOP one, in the middle of whatever it does, for longer than a store's time-out."""
    with standing_still([scene.rng.choice(scene.workers.workers())]):
        scene.linger(0.2, 2.5)


def reload(scene: Scene) -> None:
    """SIGHUP: all of them end what they do, and others start."""
    before = set(scene.workers.workers())
    os.kill(scene.workers.pid, signal.SIGHUP)
    while before & set(scene.workers.workers()):
        scene.linger(0.05, 0.1)
    scene.workers.wait_for_workers()
