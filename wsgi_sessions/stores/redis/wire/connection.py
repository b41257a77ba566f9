"""Commands to one Redis server: connections, deadlines, the retry, the breaker.

redis-py's client and pool are not used: they cost as much per call as the round trip over loopback
itself, retry failed log-ins, and wait for minutes for a hung server.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from wsgi_sessions.clock import monotonic
from wsgi_sessions.errors import StoreUnavailable, WriteInDoubt, bare
from wsgi_sessions.forks import here, this_process
from wsgi_sessions.stores.breaker import NOT_ASKED, Breaker, CircuitOpen
from wsgi_sessions.stores.redis.wire.commands import Count
from wsgi_sessions.stores.redis.wire.faults import (
    RedisFault,
    RedisReaction,
    fault_of,
    hangs_up,
    without_arguments,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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

    def put_away(self, link: Link, idle: deque[Link], error: BaseException) -> None:
        """Keep the link of a fault if an error reply was read whole, and the server stays."""
        if isinstance(error, ResponseError) and not hangs_up(error):
            self.keep(link, idle)
        else:
            link.close()

    def drop_idle(self) -> None:
        _close_all(self.idle)

    def follow(self, endpoint: Endpoint, now: float, latest: float) -> None:
        """Check where the server is, if due; leave a former one, and close its links after use."""
        if now >= endpoint.next_look:
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
    def label(self) -> str:
        """The server's name in messages."""
        return self._endpoint.label

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
            raise _NOT_ASKED.error(self.label, operation, key, 0, error) from bare(error)

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
            raise fault.error(self.label, operation, None, 1, error) from (without_arguments(error))
        finally:
            if link is not None:
                link.close()

    def nodes(self, operation: str) -> Sequence[NodeExecutor]:  # noqa: ARG002 - no need to ask
        return (self,)

    def close(self) -> None:
        if self._process.mark == this_process():
            self._process.drop_idle()

    def _new_process(self) -> _Pool:
        return _Pool(Breaker(f"Redis at {self.label}", clock=self._clock))

    def _attempt(
        self,
        pool: _Pool,
        commands: Sequence[Command],
        operation: str,
        key: str | None,
        sendings: int,
    ) -> Any:
        """Make the first attempt, and after a fault perhaps another one.

        A link is kept only after a whole reply was read: an interruption of the read, by
        gevent.Timeout too, would leave the reply for the next command.
        """
        endpoint, started = self._endpoint, self._clock()
        latest = started + self._latest_send
        link = None
        try:
            if started >= endpoint.next_look or pool.generation != endpoint.generation:
                pool.follow(endpoint, started, latest)
            idle = pool.idle  # of links to the present server
            link = _fresh(idle) or self._connect(latest)
            for command in commands:
                reply = link.call(command, latest)
        except BaseException as error:  # noqa: BLE001 - raised again, as what it is to the caller
            if link is not None:
                pool.put_away(link, idle, error)
            course = _Course(self, pool, operation, key, sendings, started)
            course.met(error, was_sent=link is not None, may_retry=True)
        else:
            pool.keep(link, idle)
            if pool.breaker.failures:
                pool.breaker.answered()
            return reply
        return self._attempt_last(course, commands, latest)

    def _attempt_last(self, course: _Course, commands: Sequence[Command], latest: float) -> Any:
        """Make the second attempt, with all that is left of the deadline.

        A server short of processor time may still answer. The link waits too long to be kept.
        """
        pool, deadline = course.pool, latest + self._after_sending
        link = None
        try:
            pool.follow(self._endpoint, course.started, latest)
            link = _fresh(pool.idle) or self._connect(latest)
            link.wait_until(deadline)
            for command in commands:
                reply = link.call(command, deadline)
        except BaseException as error:
            course.met(error, was_sent=link is not None, may_retry=False)
            raise AssertionError("unreachable: the last fault is raised") from error
        finally:
            if link is not None:
                link.close()
        pool.breaker.answered()
        return reply

    def is_early(self, started: float) -> bool:
        """Return whether a repetition of an operation that began then would come in time."""
        return self._clock() - started < self._latest_retry

    def note_retry(self) -> None:
        """Count a command that is sent again."""
        self._again.number += 1

    def _connect(self, latest: float) -> Link:
        link = self._endpoint.connect(latest)
        if self._clock() > latest:
            link.close()
            raise RedisTimeoutError(f"connecting to {self.label} took too long")
        return link


@dataclass
class _Course:
    """The course of an operation that has met a fault: how often it was sent, and unanswered."""

    executor: NodeExecutor
    pool: _Pool
    operation: str
    key: str | None
    sendings: int
    started: float
    attempts: int = 0
    sent: int = 0
    unanswered: int = 0

    def met(self, error: BaseException, *, was_sent: bool, may_retry: bool) -> None:
        """Raise a fault in the caller's terms, unless another attempt is worth it."""
        if isinstance(error, NoScriptError):
            self.pool.breaker.answered()
            raise error
        if not isinstance(error, Exception):
            raise error
        fault = fault_of(error)  # of any class: a driver raises what it likes
        self.attempts += 1
        self.sent += was_sent
        self.unanswered += fault.reaction is RedisReaction.RECONNECT and was_sent
        may_retry = self._is_worth_another(fault) and may_retry
        in_doubt = fault.reaction is RedisReaction.RECONNECT and self.sent == self.sendings
        if may_retry and not in_doubt:
            self.executor.note_retry()
            return
        self._count(fault, error)
        kind = WriteInDoubt if in_doubt and self.sendings == 1 else StoreUnavailable
        server = self.executor.label
        raised = fault.error(server, self.operation, self.key, self.attempts, error, kind)
        raised.in_doubt = self.unanswered > 0
        if isinstance(raised, WriteInDoubt):
            raised.may_try_another = may_retry
        raise raised from without_arguments(error)

    def _is_worth_another(self, fault: RedisFault) -> bool:
        if fault.reaction in (RedisReaction.REPORT, RedisReaction.GIVE_UP):
            return False
        # If one is dead or leads to the wrong server, the other idle ones do too.
        self.pool.drop_idle()
        return self.executor.is_early(self.started)

    def _count(self, fault: RedisFault, error: Exception) -> None:
        if fault.reaction is RedisReaction.RECONNECT:
            self.pool.breaker.unanswered(str(error))
        elif fault.reaction is not RedisReaction.GIVE_UP:
            self.pool.breaker.answered()


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
