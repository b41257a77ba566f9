"""Faults of the server that keeps the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from histories.faults.scene import Scene


def pause(scene: Scene) -> None:
    """It answers nothing: for a moment, or for longer than the store's time-out."""
    server = scene.place.server
    assert server is not None
    server.pause()
    try:
        scene.linger(0.1, 2.5)
    finally:
        server.resume()


def restart(scene: Scene) -> None:
    """It crashes, and starts again."""
    assert scene.place.server is not None
    scene.place.server.restart()
