"""Commands to one Redis server: connections, deadlines, the retry, the breaker.

redis-py's client and pool are not used: they cost as much per call as the round trip over loopback
itself, retry failed log-ins, and wait for minutes for a hung server.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from wsgi_sessions.clock import monotonic
from wsgi_sessions.errors import StoreUnavailable, WriteInDoubt, bare
from wsgi_sessions.forks import here, this_process
from wsgi_sessions.stores.breaker import NOT_ASKED, Breaker, CircuitOpen
from wsgi_sessions.stores.redis.wire.faults import (
    RedisFault,
    RedisReaction,
    fault_of,
    hangs_up,
    without_arguments,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from wsgi_sessions.stores.redis.wire.endpoints import Endpoint
    from wsgi_sessions.stores.redis.wire.link import Command, Link, Word

T = TypeVar("T")

# Shares of an operation's deadline. The longest way to a reply is: none on a pooled connection
# (0.3), then connect (0.1), TLS (0.3) and a reply (0.3, or all that is left). After half of it,
# nothing is retried; after 0.7, no command is sent, and the first attempt no longer waits for a
# reply.
_LATEST_RETRY = 0.5
_LATEST_SEND = 0.7
_MAX_IDLE = 64
_NOT_ASKED = RedisFault("OPEN", NOT_ASKED)


class Executor(Protocol):
    """Runs commands on one or several servers.

    Each call is bounded by the deadline, is repeated at most once after a connection fault, and
    raises `StoreUnavailable` alone, with its purpose (`operation`, `key`); except `NoScriptError`,
    which is not a fault. A command may thus run twice, after a lost reply: every command has to
    allow for that.
    """

    @property
    def retries(self) -> int:
        """Return how often this thread has repeated a command.

        Changed by a call, its command may have run twice.
        """

    def execute(self, operation: str, key: str | None, *command: Word) -> Any:
        """Run a command, its Redis key in the usual place, and return the raw reply."""

    def execute_once(self, operation: str, key: str | None, *command: Word) -> Any:
        """Like `execute`, without repeating a command that may have run: `WriteInDoubt`."""

    def nodes(self, operation: str) -> Sequence[NodeExecutor]:
        """Return an executor for each primary, for commands about a server and not a key."""

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
        """Run it on `keys`, all of one slot. Raises as `Executor.execute`."""
        try:
            return executor.execute(operation, key, "EVALSHA", self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return executor.execute(operation, key, "EVAL", self.text, len(keys), *keys, *args)


def scan(executor: Executor, operation: str, pattern: str) -> Iterator[list[bytes]]:
    """Yield matching keys in batches; one may come twice while a server resizes its table."""
    for node in executor.nodes(operation):
        cursor = None
        while cursor != b"0":
            words = ("SCAN", cursor or 0, "MATCH", pattern, "COUNT", 1000)
            cursor, batch = node.execute(operation, None, *words)
            yield batch


class Count(threading.local):
    """A counter for each thread; with gevent, for each greenlet."""

    number = 0


def literally(name: str) -> str:
    """Return a pattern, for SCAN and ACLs, that only this text matches."""
    return re.sub(r"([\\*?\[\]])", r"\\\1", name)


@dataclass
class _Pool:
    """The connections of one process; a forked child has its own, and its own breaker."""

    breaker: Breaker
    mark: int = field(default_factory=this_process)
    idle: deque[Link] = field(default_factory=deque)
    generation: int = 0  # of the endpoint: the server of the idle links

    def keep(self, link: Link, idle: deque[Link]) -> None:
        if idle is self.idle and len(idle) < _MAX_IDLE:
            idle.append(link)
        else:
            link.close()

    def drop_idle(self) -> None:
        _close_all(self.idle)

    def follow(self, endpoint: Endpoint, now: float, latest: float) -> None:
        """Check where the server is, if due; leave a former one, and close its links after use."""
        if now >= endpoint.look_at:
            endpoint.look(latest)
        if self.generation != endpoint.generation:
            former, self.idle = self.idle, deque()
            self.generation = endpoint.generation
            _close_all(former)


class NodeExecutor:
    """An `Executor` of one server (with Sentinel, of the present primary).

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
        self._after_sending = timeout - self._latest_send
        self._clock = clock
        self._again = Count()
        self._process = self._new_process()

    @property
    def retries(self) -> int:
        return self._again.number

    def execute(self, operation: str, key: str | None, *command: Word) -> Any:
        return self.run((command,), operation, key)

    def execute_once(self, operation: str, key: str | None, *command: Word) -> Any:
        return self.run((command,), operation, key, sendings=1)

    def run(
        self, commands: Sequence[Command], operation: str, key: str | None, sendings: int = 2
    ) -> Any:
        """Execute several commands on one connection; return the reply to the last.

        `sendings`: how often they may be sent, unless an answer says that nothing was done.
        """
        process = self._process
        if process.mark != here[0]:
            process = self._process = self._new_process()
        if process.breaker.closed:
            return self._attempt(process, commands, operation, key, sendings)
        try:
            with process.breaker.probe():
                return self._attempt(process, commands, operation, key, sendings)
        except CircuitOpen as error:
            raise _NOT_ASKED.error(self._endpoint.label, operation, key, 0, error) from bare(error)

    def alone(self, operation: str, work: Callable[[Link], T]) -> T:
        """Return the result of `work` on a link of its own, in any state afterwards.

        Tried once, within the deadline. Raises StoreUnavailable.
        """
        link = None
        try:
            link = self._connect(self._clock() + self._latest_send)
            return work(link)
        except Exception as error:  # noqa: BLE001 - as in `_attempt`
            fault = fault_of(error)
            raise fault.error(self._endpoint.label, operation, None, 1, error) from (
                without_arguments(error)
            )
        finally:
            if link is not None:
                link.close()

    def nodes(self, operation: str) -> Sequence[NodeExecutor]:  # noqa: ARG002 - no need to ask
        return (self,)

    def close(self) -> None:
        if self._process.mark == this_process():
            self._process.drop_idle()

    def _new_process(self) -> _Pool:
        return _Pool(Breaker(f"Redis at {self._endpoint.label}", clock=self._clock))

    def _attempt(
        self,
        process: _Pool,
        commands: Sequence[Command],
        operation: str,
        key: str | None,
        sendings: int,
    ) -> Any:
        endpoint, started = self._endpoint, self._clock()
        latest = started + self._latest_send
        sent = unanswered = 0
        for attempt in (1, 2):
            link = None
            try:
                if started >= endpoint.look_at or process.generation != endpoint.generation:
                    process.follow(endpoint, started, latest)
                idle = process.idle  # of links to the present server
                link = _fresh(idle) or self._connect(latest)
                if attempt == 1:
                    return self._exchange(process, link, idle, commands, latest)
                return self._exchange_last(process, link, commands, latest)
            except NoScriptError:
                process.breaker.answered()
                raise
            except Exception as error:  # noqa: BLE001 - a driver raises what it likes: UnicodeError
                fault = fault_of(error)
                sent += link is not None
                unanswered += fault.reaction is RedisReaction.RECONNECT and link is not None
                may_retry = self._may_retry(process, fault, started) and attempt == 1
                in_doubt = fault.reaction is RedisReaction.RECONNECT and sent == sendings
                if may_retry and not in_doubt:
                    self._again.number += 1
                    continue
                self._count(process, fault, error)
                kind = WriteInDoubt if in_doubt and sendings == 1 else StoreUnavailable
                raised = fault.error(endpoint.label, operation, key, attempt, error, kind)
                _say_of_doubt(raised, unanswered, may_retry=may_retry)
                raise raised from without_arguments(error)
        raise AssertionError("unreachable: the second attempt returns or raises")

    def _may_retry(self, process: _Pool, fault: RedisFault, started: float) -> bool:
        if fault.reaction in (RedisReaction.REPORT, RedisReaction.GIVE_UP):
            return False
        # If one is dead or leads to the wrong server, the other idle ones do too.
        process.drop_idle()
        return self._clock() - started < self._latest_retry

    def _count(self, process: _Pool, fault: RedisFault, error: Exception) -> None:
        if fault.reaction is RedisReaction.RECONNECT:
            process.breaker.unanswered(str(error))
        elif fault.reaction is not RedisReaction.GIVE_UP:
            process.breaker.answered()

    def _exchange(
        self,
        process: _Pool,
        link: Link,
        idle: deque[Link],
        commands: Sequence[Command],
        latest: float,
    ) -> Any:
        """Make one attempt. The link is kept only after a whole reply was read.

        An interruption of the read, by gevent.Timeout too, would leave the reply for the next
        command.
        """
        try:
            for command in commands:
                reply = link.call(command, latest)
        except ResponseError as error:
            if hangs_up(error):
                link.close()
            else:
                process.keep(link, idle)
            raise
        except BaseException:
            link.close()
            raise
        process.keep(link, idle)
        if process.breaker.failures:
            process.breaker.answered()
        return reply

    def _exchange_last(
        self,
        process: _Pool,
        link: Link,
        commands: Sequence[Command],
        latest: float,
    ) -> Any:
        """Make the second attempt, with all that is left of the deadline.

        A server short of processor time may still answer. The link waits too long to be kept.
        """
        deadline = latest + self._after_sending
        link.wait_until(deadline)
        try:
            return self._exchange(process, link, deque(), commands, deadline)
        finally:
            link.close()

    def _connect(self, latest: float) -> Link:
        link = self._endpoint.connect(latest)
        if self._clock() > latest:
            link.close()
            raise RedisTimeoutError(f"connecting to {self._endpoint.label} took too long")
        return link


def _say_of_doubt(error: StoreUnavailable, unanswered: int, *, may_retry: bool) -> None:
    """Say whether the command may have run, and whether another attempt is worth it."""
    error.in_doubt = unanswered > 0
    if isinstance(error, WriteInDoubt):
        error.may_try_another = may_retry


def _fresh(idle: deque[Link]) -> Link | None:
    """Return an idle link that may be used; close dead ones."""
    while idle:
        try:
            link = idle.pop()
        except IndexError:  # another thread was faster
            break
        if not link.has_news():
            return link
        link.close()
    return None


def _close_all(idle: deque[Link]) -> None:
    while idle:
        with suppress(IndexError):  # another thread was faster
            idle.pop().close()
