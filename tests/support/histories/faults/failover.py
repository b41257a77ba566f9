"""Another server takes over: a planned failover, and slots of a cluster that move."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

import redis
from redis_servers import wait_until

if TYPE_CHECKING:
    from redis_servers import ClusterGroup, RedisServer
    from separable_redis import SeparableGroup

    from histories.faults.scene import Scene

LEFT = 1.5  # seconds after which no worker asks the former primary any more: promised is one


def fail_over(scene: Scene) -> None:
    """SENTINEL FAILOVER. Until all workers have left the former primary, less is promised."""
    group, former = group_of(scene), primary_of(scene)
    begin = replicated(former)
    group.sentinel.command("SENTINEL", "FAILOVER", group.service)
    wait_until(lambda: group.primary_port() != former.port, "another primary", 30)
    time.sleep(LEFT)
    scene.excused.append((begin, time.monotonic()))
    wait_until(lambda: has_replica(group.sentinel, group.service), "a replica in sync", 60)


def group_of(scene: Scene) -> SeparableGroup:
    """The group that the sessions are in."""
    assert scene.place.sentinel is not None
    return scene.place.sentinel


def primary_of(scene: Scene) -> RedisServer:
    """What the sentinel holds for the primary now."""
    group = group_of(scene)
    return next(s for s in (group.primary, group.replica) if s.port == group.primary_port())


def replicated(primary: RedisServer) -> float:
    """Let a replica have all that is written so far, as replication is asynchronous. Return when
    that was: what was acknowledged before is not lost with the primary."""
    now = time.monotonic()
    with closing(primary.client()) as client:
        client.set("written by", "a fault")
        wait_until(lambda: client.wait(1, 1000) > 0, "a replica that has what was written", 30)
    return now


def has_replica(sentinel: RedisServer, service: str) -> bool:
    """Whether another failover would find somebody."""
    try:
        replicas = sentinel.command("SENTINEL", "REPLICAS", service)
    except redis.RedisError:
        return False
    facts = [dict(zip(replica[::2], replica[1::2], strict=False)) for replica in replicas]
    return any(
        fact[b"flags"] == b"slave" and fact[b"master-link-status"] == b"ok" for fact in facts
    )


def move_slots(scene: Scene) -> None:
    """Move the slots of some live sessions to other nodes, key by key."""
    cluster = scene.place.cluster
    assert cluster is not None
    cluster.wait_until_ok()
    source, target = scene.rng.sample(cluster.nodes, 2)
    keys = list(source.command("KEYS", "*"))
    for key in scene.rng.sample(keys, min(3, len(keys))):
        slot = int(source.command("CLUSTER", "KEYSLOT", key))
        if source.command("CLUSTER", "COUNTKEYSINSLOT", slot):
            _move(cluster, slot, source, target)


def _move(cluster: ClusterGroup, slot: int, source: RedisServer, target: RedisServer) -> None:
    """As redis-cli does it: the others learn of it last."""
    ids = {node: node.command("CLUSTER", "MYID") for node in (source, target)}
    target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
    source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
    while keys := source.command("CLUSTER", "GETKEYSINSLOT", slot, 10):
        source.command("MIGRATE", target.host, target.port, "", 0, 5000, "KEYS", *keys)
    for node in (target, source, *(n for n in cluster.nodes if n not in ids)):
        node.command("CLUSTER", "SETSLOT", slot, "NODE", ids[target])
