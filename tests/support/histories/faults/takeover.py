"""A primary that is lost, and comes back: a replica takes over, unplanned.

Acknowledged is what it may not have replicated yet, and where it goes on by itself, what its
workers have it do until they know of the other one: that much is not promised.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from redis_servers import wait_until

from histories.faults.failover import LEFT, group_of, has_replica, primary_of, replicated

if TYPE_CHECKING:
    from redis_servers import RedisServer
    from separable_redis import SeparableGroup

    from histories.faults.scene import Scene

_GUARD = "min-replicas-to-write"
_UNANSWERED = 0.5  # seconds after which no worker waits for a reply any more


def kill(scene: Scene) -> None:
    """SIGKILL. When another has its office, it starts again: as an empty primary until it is told
    to follow, or as a replica."""
    group, former = group_of(scene), primary_of(scene)
    begin = replicated(former)
    former.kill()
    scene.excused.append((begin, time.monotonic()))
    try:
        _wait_for_another(group, former)
        scene.linger(0.0, 1.0)
    finally:
        former.start()
    _wait_until_it_follows(scene, former, begin)


def stop(scene: Scene) -> None:
    """SIGSTOP, until another has its office. It goes on as the primary that it was."""
    group, former = group_of(scene), primary_of(scene)
    is_guarded = _guard_or_not(scene, former)
    begin = replicated(former)
    former.pause()
    scene.excused.append((begin, time.monotonic()))
    try:
        _wait_for_another(group, former)
        switched = time.monotonic()
        time.sleep(_UNANSWERED)
        scene.linger(0.0, 2.0)
    finally:
        former.resume()
    _leave(scene, time.monotonic(), switched + LEFT, is_guarded=is_guarded)
    _wait_until_it_follows(scene, former, begin)
    former.command("CONFIG", "SET", _GUARD, 0)  # it may be the primary again, with no replica


def cut_off(scene: Scene) -> None:
    """Replica and sentinel do not reach it any more, but workers do, until they have left it."""
    group, former = group_of(scene), primary_of(scene)
    is_guarded = _guard_or_not(scene, former)
    begin = replicated(former)
    group.cut_off(former)
    cut = time.monotonic()
    scene.excused.append((begin, cut))
    try:
        _wait_for_another(group, former)
        _leave(scene, cut, time.monotonic() + LEFT, is_guarded=is_guarded)
        scene.linger(0.5, 1.5)  # it is still there, for any who should come back
    finally:
        group.join(former)
    _wait_until_it_follows(scene, former, begin)
    former.command("CONFIG", "SET", _GUARD, 0)  # it may be the primary again, with no replica


def _guard_or_not(scene: Scene, server: RedisServer) -> bool:
    """Whether it is to refuse writes without a replica."""
    is_guarded = scene.rng.random() < 0.5
    server.command("CONFIG", "SET", _GUARD, int(is_guarded))
    return is_guarded


def _leave(scene: Scene, begin: float, end: float, *, is_guarded: bool) -> None:
    """Until `end`, workers may still ask the former primary. Guarded, it acknowledges nothing, and
    only what is read may be old."""
    time.sleep(max(0.0, end - time.monotonic()))
    if begin < end:
        (scene.stale if is_guarded else scene.excused).append((begin, end))


def _wait_for_another(group: SeparableGroup, former: RedisServer) -> None:
    wait_until(lambda: group.primary_port() != former.port, "another primary", 30)


def _wait_until_it_follows(scene: Scene, former: RedisServer, begin: float) -> None:
    """The sentinel makes a replica of the former primary.

    On a busy machine it may take the new one for dead meanwhile, and go back to the former, with
    whatever that has. Nobody promises anything then, and what happened since `begin` is not judged.
    """
    group = group_of(scene)
    wait_until(lambda: has_replica(group.sentinel, group.service), "a replica in sync", 60)
    if group.primary_port() == former.port:
        scene.excused.append((begin, time.monotonic()))
