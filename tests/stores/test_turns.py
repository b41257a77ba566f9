"""Waiting in one process: one asks, all are told of a fault, and nobody is forgotten."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from redis_servers import wait_until

from wsgi_sessions.errors import LockTimeout, StoreUnavailable
from wsgi_sessions.identity import new_id, short_key, store_key
from wsgi_sessions.stores.token_locks import Freeing, LockAttempt, TokenLocks
from wsgi_sessions.stores.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

KEY = store_key(new_id())
THREADS = 8


@pytest.fixture
def turns() -> Turns:
    return Turns()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(THREADS) as pool:
        yield pool


def waiting(turns: Turns, key: str = KEY) -> int:
    """How many are in the queue, the first included."""
    return turns.lengths.get(key, 0)


def lost() -> StoreUnavailable:
    return StoreUnavailable("no answer", operation="lock", key=short_key(KEY), attempts=2)


def test_one_at_a_time(turns: Turns, pool: ThreadPoolExecutor) -> None:
    inside: list[int] = []

    def visit(number: int) -> int:
        with turns.turn(KEY, 20.0) as is_first:
            assert is_first
            inside.append(number)
            threading.Event().wait(0.001)
            assert inside == [number]
            inside.clear()
        return number

    assert list(pool.map(visit, range(40))) == list(range(40))
    assert turns.lengths == {}


def test_each_key_has_a_queue_of_its_own(turns: Turns) -> None:
    with ExitStack() as stack:
        for _ in range(3):
            assert stack.enter_context(turns.turn(store_key(new_id()), 0.0))
    assert turns.lengths == {}


def test_a_waiter_past_its_time_learns_it_and_leaves(
    turns: Turns, pool: ThreadPoolExecutor
) -> None:
    def visit(_: int) -> bool:
        with turns.turn(KEY, 0.01) as is_first:
            return is_first

    with turns.turn(KEY, 0.0):
        assert list(pool.map(visit, range(THREADS))) == [False] * THREADS
        assert waiting(turns) == 1
    assert turns.lengths == {}


@pytest.mark.parametrize("timeout", [-1.0, 0.0, float("inf")])
def test_any_time_may_be_given(turns: Turns, timeout: float) -> None:
    with turns.turn(KEY, timeout) as is_first:
        assert is_first


def test_an_interruption_lets_the_next_one_in(turns: Turns) -> None:
    with pytest.raises(KeyboardInterrupt), turns.turn(KEY, 0.0):
        raise KeyboardInterrupt
    with turns.turn(KEY, 0.0) as is_first:
        assert is_first


def test_a_fault_reaches_all_present_waiters_and_no_later_one(
    turns: Turns, pool: ThreadPoolExecutor
) -> None:
    asked = []

    def visit(number: int) -> None:
        with turns.turn(KEY, 20.0):
            asked.append(number)

    def fail() -> None:
        with turns.turn(KEY, 0.0):
            visits.extend(pool.submit(visit, number) for number in range(THREADS))
            wait_until(lambda: waiting(turns) == THREADS + 1, "all to be in the queue", 20)
            raise lost() from OSError("reset by peer")

    visits: list[Future[None]] = []
    with pytest.raises(StoreUnavailable):
        fail()
    errors: list[Any] = [visit.exception(20) for visit in visits]
    assert [str(error) for error in errors] == ["no answer"] * THREADS
    facts = {(error.operation, error.key, error.attempts) for error in errors}
    assert facts == {("lock", short_key(KEY), 2)}
    assert {str(error.__cause__) for error in errors} == {"reset by peer"}
    assert len(set(map(id, errors))) == THREADS, "each has a traceback of its own"
    assert asked == []
    visit(1)
    assert asked == [1]
    assert turns.lengths == {}


def test_a_stream_of_visitors_does_not_keep_a_fault(turns: Turns) -> None:
    late = turns._queues.get().join(KEY)  # has come, and is about to ask whose turn it is
    with pytest.raises(StoreUnavailable), turns.turn(KEY, 0.0):
        raise lost()
    with turns.turn(KEY, 0.0) as is_first:
        assert is_first
        turns._queues.get().leave(KEY, late)
        assert waiting(turns) == 1, "left its own queue, not the new one"
    assert turns.lengths == {}


def test_a_forked_child_waits_for_no_thread_of_its_parent(turns: Turns) -> None:
    with turns.turn(KEY, 0.0), turns._queues.get()._guard:
        child = os.fork()
        if child == 0:
            with turns.turn(KEY, 0.0) as is_first:
                os._exit(0 if is_first else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


class Busy:
    """`TokenHolds`, held by another process until it is `free`."""

    ttl = 30.0
    patience = 1.0

    def __init__(self) -> None:
        self.is_free = threading.Event()
        self.holder: str | None = None
        self.at_once = self.most = self.asked = 0
        self._guard = threading.Lock()

    def clock(self, key: str) -> float:
        return 0.0

    def take(self, key: str, token: str, latest: float) -> LockAttempt:
        with self._guard:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            self.asked += 1
        taken = self.is_free.wait(0.001) and self.holder is None
        with self._guard:
            self.at_once -= 1
            if taken:
                self.holder = token
        return LockAttempt("taken" if taken else "held")

    def free(self, key: str, token: str) -> Freeing:
        was, self.holder = self.holder, None
        return "freed" if was == token else "lost"


def test_many_waiters_for_a_lock_ask_the_server_one_at_a_time(pool: ThreadPoolExecutor) -> None:
    holds = Busy()
    locks = TokenLocks(holds)

    def visit(_: int) -> None:
        with locks.hold(KEY, 20.0):
            pass

    visits = [pool.submit(visit, number) for number in range(THREADS)]
    wait_until(lambda: waiting(locks._turns) == THREADS and holds.asked > 5, "all to wait", 20)
    holds.is_free.set()
    assert [visit.exception(20) for visit in visits] == [None] * THREADS
    assert holds.most == 1
    assert holds.holder is None


def test_a_caller_without_a_turn_has_waited_for_the_lock(pool: ThreadPoolExecutor) -> None:
    holds = Busy()
    locks = TokenLocks(holds)

    def visit(_: int) -> None:
        with locks.hold(KEY, 0.05):
            raise AssertionError("held")

    visits = [pool.submit(visit, number) for number in range(THREADS)]
    assert {type(visit.exception(20)) for visit in visits} == {LockTimeout}
    assert holds.most == 1
    assert holds.holder is None
