"""The mutex made of take and free: who has it, who is told what, and what a fault leaves."""

from __future__ import annotations

import os
from typing import Any

import pytest

from wsgi_sessions.errors import LockTimeout, StoreUnavailable
from wsgi_sessions.identity import new_id, short_key, store_key
from wsgi_sessions.stores.token_locks import Freeing, LockAttempt, TokenLocks

KEY = store_key(new_id())


class Interruption(BaseException):
    """As gevent.Timeout: no Exception."""


class Holds:
    """`TokenHolds` in a dictionary, with a fault to come at a step, and a clock of its own."""

    ttl = 30.0
    patience = 1.0

    def __init__(self) -> None:
        self.now = 5000.0
        self.clock_asked = 0
        self.holders: dict[str, str] = {}
        self.tried = 0
        self.tokens: list[str] = []
        self.reply_lost_in_free = False
        self.in_take: BaseException | None = None
        self.in_free: BaseException | None = None

    def clock(self, key: str) -> float:
        self.clock_asked += 1
        return self.now

    def take(self, key: str, token: str, latest: float) -> LockAttempt:
        self.tried += 1
        self.tokens.append(token)
        if self.now > latest and self.holders.get(key) != token:
            return LockAttempt("late", self.now)
        taken = self.holders.setdefault(key, token) == token
        if self.in_take is not None:  # the server did it, and its answer is lost
            raise self.in_take
        return LockAttempt("taken" if taken else "held", self.now)

    def free(self, key: str, token: str) -> Freeing:
        if self.in_free is not None:
            raise self.in_free
        if self.reply_lost_in_free:  # it is done, and asked once more
            self.holders.pop(key, None)
            return "unknown"
        if self.holders.get(key) != token:
            return "lost"
        del self.holders[key]
        return "freed"


@pytest.fixture
def holds() -> Holds:
    return Holds()


def lost() -> StoreUnavailable:
    return StoreUnavailable("no answer", operation="lock", key=short_key(KEY))


def test_it_is_held_for_the_block_and_no_longer(holds: Holds) -> None:
    locks = TokenLocks(holds)
    for _ in range(2):
        with locks.hold(KEY, 1.0):
            assert list(holds.holders) == [KEY]
        assert holds.holders == {}


def test_each_holder_has_a_token_of_its_own(holds: Holds) -> None:
    tokens = set()
    for _ in range(3):
        with TokenLocks(holds).hold(KEY, 1.0):
            tokens.add(holds.holders[KEY])
    assert len(tokens) == 3


def test_a_waiter_learns_of_its_time_out_and_frees_nothing(holds: Holds) -> None:
    holds.holders[KEY] = "another's"
    with (
        pytest.raises(LockTimeout, match=r"by another request for 0\.05 s") as caught,
        TokenLocks(holds, clock=lambda: holds.tried / 100).hold(KEY, 0.05),
    ):
        raise AssertionError("held")
    assert holds.tried == 5
    assert holds.holders == {KEY: "another's"}
    assert KEY not in str(caught.value)


def test_an_exception_of_the_block_frees_it(holds: Holds) -> None:
    with pytest.raises(Interruption), TokenLocks(holds).hold(KEY, 1.0):
        raise Interruption
    assert holds.holders == {}


def test_an_interruption_between_the_taking_and_the_reply_frees_it(holds: Holds) -> None:
    holds.in_take = Interruption()
    with pytest.raises(Interruption), TokenLocks(holds).hold(KEY, 1.0):
        raise AssertionError("held")
    assert holds.holders == {}


def test_an_interruption_is_not_hidden_by_a_fault(holds: Holds) -> None:
    holds.in_take, holds.in_free = Interruption(), lost()
    with pytest.raises(Interruption), TokenLocks(holds).hold(KEY, 1.0):
        raise AssertionError("held")


def test_a_fault_in_the_taking_is_reported(holds: Holds) -> None:
    """Freeing would be a second wait for a server that does not answer."""
    holds.in_take, holds.in_free = lost(), AssertionError("asked again")
    with pytest.raises(StoreUnavailable, match="no answer"), TokenLocks(holds).hold(KEY, 1.0):
        raise AssertionError("held")


def test_a_fault_in_the_freeing_undoes_nothing(
    holds: Holds, caplog: pytest.LogCaptureFixture
) -> None:
    holds.in_free = lost()
    with TokenLocks(holds).hold(KEY, 1.0) as held:
        pass
    assert not held.was_lost
    assert "stays until it expires" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize("then", [{}, {KEY: "another's"}])
def test_a_lost_lock_is_reported_and_left_to_its_holder(holds: Holds, then: dict[str, Any]) -> None:
    with TokenLocks(holds).hold(KEY, 1.0) as held:
        assert not held.was_lost
        holds.holders = dict(then)
    assert holds.holders == then
    assert held.was_lost


@pytest.mark.parametrize(("seconds", "is_lost"), [(1.0, False), (31.0, True)])
@pytest.mark.parametrize("fault", ["a reply", "the server"])
def test_a_lost_reply_to_freeing_raises_no_alarm_unless_the_block_took_too_long(
    holds: Holds, fault: str, seconds: float, *, is_lost: bool
) -> None:
    holds.reply_lost_in_free = True
    holds.in_free = lost() if fault == "the server" else None
    now = [0.0]
    with TokenLocks(holds, clock=lambda: now[0]).hold(KEY, 1.0) as held:
        now[0] += seconds
    assert held.was_lost == is_lost


class ServerClock:
    """Of the process: 100 s behind the server's, as `Holds` has it at first."""

    now = 4900.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("step", [-1000.0, 1000.0])
def test_a_server_whose_clock_was_set_is_asked_again_at_once(holds: Holds, step: float) -> None:
    locks = TokenLocks(holds, clock=ServerClock())
    for tried in (1, 2 + (step > 0)):
        with locks.hold(KEY, 0.0):
            assert holds.tried == tried
        holds.now += step
        holds.tried = 1
    assert holds.clock_asked == 1


def test_the_server_is_asked_for_its_clock_again_after_a_while(holds: Holds) -> None:
    clock = ServerClock()
    locks = TokenLocks(holds, clock=clock)
    for _ in range(3):
        for _ in range(2):
            with locks.hold(KEY, 0.0):
                pass
        clock.now += 61
        holds.now += 61
    assert holds.clock_asked == 3


def test_a_server_that_is_always_late_is_unavailable(holds: Holds) -> None:
    holds.patience = -1.0
    with (
        pytest.raises(StoreUnavailable, match="too late") as caught,
        TokenLocks(holds, clock=ServerClock()).hold(KEY, 9.0),
    ):
        raise AssertionError("held")
    assert not isinstance(caught.value, LockTimeout)
    assert holds.tried == 3


def test_the_next_caller_after_a_lost_reply_finds_the_lock_its_own(holds: Holds) -> None:
    locks = TokenLocks(holds, clock=ServerClock())
    for _ in range(2):
        holds.in_take = lost()
        with pytest.raises(StoreUnavailable), locks.hold(KEY, 0.0):
            raise AssertionError("held")
    holds.in_take = None
    with locks.hold(KEY, 0.0):
        assert len(set(holds.tokens)) == 1
        with pytest.raises(LockTimeout), locks.hold(KEY, 0.0):
            raise AssertionError("the token is used by one at a time")
    with locks.hold(KEY, 0.0):
        assert len(set(holds.tokens)) == 3


def test_a_caller_for_another_session_frees_a_lock_that_may_have_been_taken_in_vain(
    holds: Holds,
) -> None:
    locks = TokenLocks(holds, clock=ServerClock())
    holds.in_take = lost()
    keys = [f"{number:064}" for number in range(5)]
    for key in keys:
        with pytest.raises(StoreUnavailable), locks.hold(key, 0.0):
            raise AssertionError("held")
    assert list(holds.holders) == keys
    holds.in_take = None
    with locks.hold(KEY, 0.0):
        assert list(holds.holders) == [*keys[3:], KEY]
    holds.in_free = lost()
    with locks.hold(KEY, 0.0):
        pass
    holds.in_free = None
    with locks.hold("another", 0.0):
        assert list(holds.holders) == [keys[3], KEY, "another"], "two are left to expire"


def test_a_doubtful_token_is_forgotten_when_the_lock_has_expired(holds: Holds) -> None:
    clock = ServerClock()
    locks = TokenLocks(holds, clock=clock)
    holds.in_take = lost()
    with pytest.raises(StoreUnavailable), locks.hold(KEY, 0.0):
        raise AssertionError("held")
    holds.in_take, holds.holders = None, {}
    clock.now += 31
    with locks.hold(KEY, 0.0):
        assert len(set(holds.tokens)) == 2


def test_a_forked_child_does_not_take_its_parents_token(holds: Holds) -> None:
    locks = TokenLocks(holds)
    holds.in_take = lost()
    with pytest.raises(StoreUnavailable), locks.hold(KEY, 0.0):
        raise AssertionError("held")
    holds.in_take = None
    child = os.fork()
    if child == 0:
        try:
            with locks.hold(KEY, 0.0):
                os._exit(1)
        except LockTimeout:
            os._exit(0)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_tokens_in_doubt_are_bounded(holds: Holds) -> None:
    locks = TokenLocks(holds, clock=ServerClock())
    holds.in_take = lost()
    for number in range(1100):
        with pytest.raises(StoreUnavailable), locks.hold(f"{number:064}", 0.0):
            raise AssertionError("held")
    assert len(locks._doubts) == 1000
