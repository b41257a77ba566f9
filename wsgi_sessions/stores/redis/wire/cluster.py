"""Commands to a Redis Cluster: which node serves which key, and following it when it moves."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from redis.crc import key_slot
from redis.exceptions import ClusterDownError, InvalidResponse, RedisError

from wsgi_sessions.clock import monotonic
from wsgi_sessions.errors import StoreUnavailable, WriteInDoubt, bare
from wsgi_sessions.forks import here, this_process
from wsgi_sessions.stores.redis.wire.commands import Count
from wsgi_sessions.stores.redis.wire.connection import NodeExecutor
from wsgi_sessions.stores.redis.wire.endpoints import FixedEndpoint
from wsgi_sessions.stores.redis.wire.faults import fault_of
from wsgi_sessions.stores.redis.wire.url import NodeAddress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wsgi_sessions.stores.redis.wire.link import Command, Word
    from wsgi_sessions.stores.redis.wire.url import RedisURL

# One each for: a map that is out of date, a slot that is being moved, a failover on the way.
_MAX_REDIRECTS = 3
# The share of the deadline after which no redirection is followed.
_LATEST_REDIRECT = 0.5


class _Target(NamedTuple):
    """A command's destination; a node that is taking over a slot needs ASKING first."""

    address: NodeAddress
    prelude: tuple[Command, ...] = ()


class _Map(NamedTuple):
    """The primary of each range of slots, as one node reported it."""

    starts: tuple[int, ...]
    addresses: tuple[NodeAddress, ...]

    def owner(self, slot: int) -> NodeAddress:
        return self.addresses[max(bisect_right(self.starts, slot) - 1, 0)]


@dataclass
class _ClusterState:
    """The state of one process.

    Each node has a breaker of its own, so that a dead one does not hold up requests to the others.
    """

    seeds: list[NodeAddress]
    mark: int = field(default_factory=this_process)
    map: _Map | None = None
    executors: dict[NodeAddress, NodeExecutor] = field(default_factory=dict)


class ClusterExecutor:
    """An `Executor` over the nodes of a cluster. All keys of a command are in one slot.

    The map of slots is fetched at the first use, and again when a node says that a slot has moved,
    or does not answer. `timeout` is the deadline of a command at one node, in seconds; after half
    of it, no other node is asked.
    """

    def __init__(
        self, url: RedisURL, timeout: float, clock: Callable[[], float] = monotonic
    ) -> None:
        self._url = url
        self._timeout = timeout
        self._clock = clock
        self._redirects = Count()
        self._process = _ClusterState(list(url.addresses))

    @property
    def retries(self) -> int:
        executors = tuple(self._process.executors.values())
        return self._redirects.number + sum(executor.retries for executor in executors)

    def execute(self, operation: str, key: str | None, *command: Word) -> Any:
        return self._execute(operation, key, command, sendings=2)

    def execute_once(self, operation: str, key: str | None, *command: Word) -> Any:
        return self._execute(operation, key, command, sendings=1)

    def _execute(self, operation: str, key: str | None, command: Command, sendings: int) -> Any:
        latest = self._clock() + self._timeout * _LATEST_REDIRECT
        slot = _slot(command)
        target = _Target(self._slots(operation, key).owner(slot))
        in_doubt = False
        for left in reversed(range(_MAX_REDIRECTS + 1)):
            try:
                return self._send(target, operation, key, command, sendings)
            except WriteInDoubt:
                self._forget(target.address)
                raise
            except StoreUnavailable as error:
                error.in_doubt = in_doubt = in_doubt or error.in_doubt
                following = self._redirect(error, target, slot) if left else None
                if following is None or self._clock() > latest:
                    raise
                target = following
                self._redirects.number += 1
        raise AssertionError("unreachable: the last attempt returns or raises")

    def nodes(self, operation: str) -> Sequence[NodeExecutor]:
        return [self._executor(a) for a in dict.fromkeys(self._slots(operation, None).addresses)]

    def close(self) -> None:
        for executor in tuple(self._process.executors.values()):
            executor.close()

    def _current(self) -> _ClusterState:
        if self._process.mark != here[0]:
            self._process = _ClusterState(list(self._url.addresses))
        return self._process

    def _send(
        self,
        target: _Target,
        operation: str,
        key: str | None,
        command: Command,
        sendings: int,
    ) -> Any:
        commands = (*target.prelude, command)
        return self._executor(target.address).run(commands, operation, key, sendings)

    def _executor(self, address: NodeAddress) -> NodeExecutor:
        executors = self._current().executors
        if address not in executors:
            endpoint = FixedEndpoint(self._url, self._timeout, address)
            # setdefault: two threads that race here use the same one.
            executors.setdefault(address, NodeExecutor(endpoint, self._timeout, self._clock))
        return executors[address]

    def _redirect(self, error: StoreUnavailable, target: _Target, slot: int) -> _Target | None:
        """Return where to send the command instead, or None if the error stands."""
        cause = error.__cause__
        code = fault_of(cause).code if isinstance(cause, RedisError) else "UNREACHABLE"
        if code == "ASK":
            return _Target(_named_node(cause, target.address), (("ASKING",),))
        if code == "MOVED":
            self._forget(target.address)
            return _Target(_named_node(cause, target.address))
        if code not in ("UNREACHABLE", "TIMEOUT", "READONLY", "LOADING"):
            return None
        self._forget(target.address)
        return self._successor(error, target.address, slot)

    def _successor(self, error: StoreUnavailable, lost: NodeAddress, slot: int) -> _Target | None:
        """Return the node that took over from a lost one, if the others have elected one yet."""
        owner = self._slots(error.operation, None).owner(slot)
        return None if owner == lost else _Target(owner)

    def _forget(self, address: NodeAddress) -> None:
        """Fetch the map again before its next use, from `address` last of all."""
        process = self._current()
        process.map = None
        process.seeds = sorted(process.seeds, key=lambda seed: seed == address)  # False comes first

    def _slots(self, operation: str, key: str | None) -> _Map:
        process = self._current()
        known = process.map
        if known is None:
            known = process.map = self._fetch_slots(process.seeds, operation, key)
            process.seeds = list(dict.fromkeys((*known.addresses, *self._url.addresses)))
        return known

    def _fetch_slots(self, seeds: Sequence[NodeAddress], operation: str, key: str | None) -> _Map:
        latest = self._clock() + self._timeout * _LATEST_REDIRECT
        for seed in seeds:
            try:
                reply = self._executor(seed).execute(operation, key, "CLUSTER", "SLOTS")
            except StoreUnavailable:
                self._forget(seed)
                if seed == seeds[-1] or self._clock() > latest:
                    raise
                continue
            if reply:
                return self._parsed(reply, seed, operation, key)
        fault = ClusterDownError("no node serves any slot")
        raise fault_of(fault).error(str(seeds[0]), operation, key, 1, fault) from bare(fault)

    def _parsed(self, reply: Any, seed: NodeAddress, operation: str, key: str | None) -> _Map:
        try:
            return _parse_slots(reply, seed)
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            fault = InvalidResponse(f"no map of slots: {type(error).__name__}")
            raise fault_of(fault).error(str(seed), operation, key, 1, fault) from bare(error)


def _slot(command: Command) -> int:
    redis_key = command[3] if command[0] in ("EVAL", "EVALSHA") else command[1]
    return key_slot(str(redis_key).encode())


def _named_node(error: BaseException | None, asked: NodeAddress) -> NodeAddress:
    """Return the node in ``MOVED 3999 127.0.0.1:6381``; without a host, the asked one."""
    host, _, port = str(error).split()[-1].rpartition(":")
    return NodeAddress(host or asked.host, int(port))


def _parse_slots(reply: Sequence[Any], asked: NodeAddress) -> _Map:
    """Parse ``[[first slot, last slot, [host, port, …] of the primary, replicas…], …]``."""
    ranges = sorted(
        (first, NodeAddress(primary[0].decode() if primary[0] else asked.host, primary[1]))
        for first, _last, primary, *_replicas in reply
    )
    return _Map(*zip(*ranges, strict=True))
