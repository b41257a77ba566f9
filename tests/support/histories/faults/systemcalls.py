"""System calls on the store's files that fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from requirements_of_tests import require
from strace import LINK, RENAME, UNLINK, Strace, unavailable

if TYPE_CHECKING:
    from histories.faults.scene import Scene

# Of each store that workers keep in files of their own.
CALLS = {
    "file": (LINK, RENAME, UNLINK, "flock", f"{LINK},{RENAME},{UNLINK},flock"),
    # Not fcntl: on a local disk no unlocking fails, and SQLite would keep the lock for ever.
    "sqlite": ("pwrite64", "fdatasync,?fsync", "ftruncate"),
}
CALLS["tmpfs"] = CALLS["file"]
_ERRORS = ("EIO", "ENOSPC", "ESTALE")


def fail(scene: Scene) -> None:
    """Let all such calls of one worker fail, or every second or third."""
    require(unavailable())
    calls, error = scene.rng.choice(CALLS[scene.place.name]), scene.rng.choice(_ERRORS)
    worker = scene.rng.choice(scene.workers.workers())
    with Strace(worker, calls, f"error={error}:when=1+{scene.rng.randint(1, 3)}"):
        scene.linger(0.2, 0.8)
