"""Commands to one Redis server: connections, deadlines, the retry, the breaker.

redis-py's client and pool are not used: they cost as much per call as the round trip over loopback
itself, retry failed log-ins, and wait for minutes on a server that hangs.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from wsgi_sessions.clock import monotonic
from wsgi_sessions.stores.breaker import Breaker, CircuitOpen
from wsgi_sessions.stores.redis.faults import (
    Reaction,
    fault_of,
    without_arguments,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from wsgi_sessions.stores.redis.endpoints import Endpoint
    from wsgi_sessions.stores.redis.faults import Fault
    from wsgi_sessions.stores.redis.link import Command, Link, Word

# Shares of an operation's deadline. The longest way that ends in a reply is: none on a pooled
# connection (0.3), then connect (0.1), TLS (0.3) and a reply (0.3). What has taken half of it is
# not retried, and what has taken 0.7 neither sends its command nor waits for more of a reply.
_LATEST_RETRY = 0.5
_LATEST_SEND = 0.7
_MAX_IDLE = 64
_UNREACHABLE = fault_of(RedisConnectionError())


class Executor(Protocol):
    """Runs commands on whichever servers there are.

    Each call is bounded by the deadline, is repeated at most once after a connection fault, and
    raises `StoreUnavailable` alone, with what it was for (`operation`, `key`); except
    `NoScriptError`, which is no fault. A command may thus run twice, when a reply was lost: all
    that is sent has to bear that.
    """

    @property
    def retries(self) -> int:
        """How often a command was sent again so far, in this process.

        Unchanged over a call: its command ran once. Changed: it may have run twice (or another
        thread's did).
        """

    def execute(self, operation: str, key: str | None, *command: Word) -> Any:
        """Run a command, its Redis key in the usual place, and return the raw reply."""

    def nodes(self, operation: str) -> Sequence[NodeExecutor]:
        """An executor for each primary, for what concerns a server and not a key."""

    def close(self) -> None:
        """Close idle connections. The executor may be used again."""


class Script:
    """A Lua script, sent by its hash; its text only to a server that does not know it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def run(
        self, executor: Executor, operation: str, key: str | None, keys: Command, *args: Word
    ) -> Any:
        """Run it on `keys`, all of one slot. Faults are those of `Executor.execute`."""
        tail = (len(keys), *keys, *args)
        try:
            return executor.execute(operation, key, "EVALSHA", self.sha, *tail)
        except NoScriptError:
            return executor.execute(operation, key, "EVAL", self.text, *tail)


def scan(executor: Executor, operation: str, pattern: str) -> Iterator[list[bytes]]:
    """The names of all keys that match, in batches. Faults are those of `Executor.execute`.

    A name may come twice while a server resizes its table.
    """
    for node in executor.nodes(operation):
        cursor = None
        while cursor != b"0":
            words = ("SCAN", cursor or 0, "MATCH", pattern, "COUNT", 1000)
            cursor, batch = node.execute(operation, None, *words)
            yield batch


@dataclass
class _Process:
    """What belongs to one process: a forked child must not use its parent's connections, and has
    its own view of whether the server answers."""

    breaker: Breaker
    pid: int = field(default_factory=os.getpid)
    idle: deque[Link] = field(default_factory=deque)
    generation: int = 0  # of the endpoint: which server the idle links lead to

    def keep(self, link: Link, idle: deque[Link]) -> None:
        if idle is self.idle and len(idle) < _MAX_IDLE:
            idle.append(link)
        else:
            link.close()

    def drop_idle(self) -> None:
        _close_all(self.idle)

    def begin(self, generation: int) -> None:
        """Leave the former server: links to it that are in use now are closed after that."""
        former, self.idle = self.idle, deque()
        self.generation = generation
        _close_all(former)


class NodeExecutor:
    """An `Executor` of one server (or of whichever is primary now, by Sentinel).

    `timeout` is the deadline of an operation in seconds; `clock` is monotonic.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        timeout: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._endpoint = endpoint
        self._latest_retry = timeout * _LATEST_RETRY
        self._latest_send = timeout * _LATEST_SEND
        self._clock = clock
        self.retries = 0
        self._process = self._new_process()

    def execute(self, operation: str, key: str | None, *command: Word) -> Any:
        return self.run((command,), operation, key)

    def run(self, commands: Sequence[Command], operation: str, key: str | None) -> Any:
        """`execute` several commands on one connection; the last one's reply."""
        process = self._process
        if process.pid != os.getpid():
            process = self._process = self._new_process()
        if process.breaker.closed:
            return self._attempt(process, commands, operation, key)
        try:
            with process.breaker.probe():
                return self._attempt(process, commands, operation, key)
        except CircuitOpen as error:
            raise _UNREACHABLE.error(self._endpoint.label, operation, key, 0) from error

    def nodes(self, operation: str) -> Sequence[NodeExecutor]:  # noqa: ARG002 - no need to ask
        return (self,)

    def close(self) -> None:
        if self._process.pid == os.getpid():
            self._process.drop_idle()

    def _new_process(self) -> _Process:
        return _Process(Breaker(f"Redis at {self._endpoint.label}", clock=self._clock))

    def _attempt(
        self, process: _Process, commands: Sequence[Command], operation: str, key: str | None
    ) -> Any:
        started = self._clock()
        for attempt in (1, 2):
            try:
                return self._exchange(process, started, commands)
            except NoScriptError:
                process.breaker.answered()
                raise
            except RedisError as error:
                fault = fault_of(error)
                if self._may_retry(process, fault, started) and attempt == 1:
                    self.retries += 1
                    continue
                self._count(process, fault, error)
                raise fault.error(
                    self._endpoint.label, operation, key, attempt
                ) from without_arguments(error)
        raise AssertionError("unreachable: the second attempt returns or raises")

    def _may_retry(self, process: _Process, fault: Fault, started: float) -> bool:
        if fault.reaction is Reaction.REPORT:
            return False
        # If one is dead or leads to the wrong server, so do those beside it.
        process.drop_idle()
        return self._clock() - started < self._latest_retry

    def _count(self, process: _Process, fault: Fault, error: RedisError) -> None:
        if fault.reaction is Reaction.RECONNECT:
            process.breaker.unanswered(str(error))
        else:
            process.breaker.answered()

    def _exchange(self, process: _Process, started: float, commands: Sequence[Command]) -> Any:
        """One attempt. The link is kept only after a whole reply was read: what interrupts the
        reading, gevent.Timeout too, would leave the reply for the next command to take."""
        latest = started + self._latest_send
        idle = self._links(process, started, latest)
        link = _fresh(idle) or self._connect(latest)
        try:
            for command in commands:
                reply = link.call(command, latest)
        except ResponseError:
            process.keep(link, idle)
            raise
        except BaseException:
            link.close()
            raise
        process.keep(link, idle)
        if process.breaker.failures:
            process.breaker.answered()
        return reply

    def _links(self, process: _Process, started: float, latest: float) -> deque[Link]:
        """The idle links to the server that is to be used now."""
        endpoint = self._endpoint
        if started >= endpoint.look_at:
            endpoint.look(latest)
        if process.generation != endpoint.generation:
            process.begin(endpoint.generation)
        return process.idle

    def _connect(self, latest: float) -> Link:
        link = self._endpoint.connect(latest)
        if self._clock() > latest:
            link.close()
            raise RedisTimeoutError(f"connecting to {self._endpoint.label} took too long")
        return link


def _fresh(idle: deque[Link]) -> Link | None:
    """The link used last that is still fit for use."""
    while idle:
        try:
            link = idle.pop()
        except IndexError:  # another thread was faster
            return None
        if link.is_fresh():
            return link
        link.close()
    return None


def _close_all(idle: deque[Link]) -> None:
    while idle:
        with suppress(IndexError):  # another thread was faster
            idle.pop().close()
