"""The mutex made of take and free: who has it, who is told what, and what a fault leaves."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from wsgi_sessions.errors import LockTimeout, StoreUnavailable
from wsgi_sessions.identity import new_id, short_key, store_key
from wsgi_sessions.stores.token_locks import TokenLocks

KEY = store_key(new_id())


class Interrupted(BaseException):
    """As gevent.Timeout: no Exception."""


class Holds:
    """`TokenHolds` in a dictionary, with a fault to come at a step."""

    ttl = 30.0

    def __init__(self) -> None:
        self.holders: dict[str, str] = {}
        self.tried = 0
        self.in_take: BaseException | None = None
        self.in_free: BaseException | None = None

    def take(self, key: str, token: str) -> bool:
        self.tried += 1
        taken = self.holders.setdefault(key, token) == token
        if self.in_take is not None:  # the server did it, and its answer is lost
            raise self.in_take
        return taken

    def free(self, key: str, token: str) -> bool:
        if self.in_free is not None:
            raise self.in_free
        if self.holders.get(key) != token:
            return False
        del self.holders[key]
        return True


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


def test_one_who_waits_is_told_after_its_time_and_frees_nothing(holds: Holds) -> None:
    times = iter([0.0, *(step / 100 for step in range(1, 400))])
    holds.holders[KEY] = "another's"
    with (
        pytest.raises(LockTimeout, match=r"by another request for 0\.05 s") as caught,
        TokenLocks(holds, clock=lambda: next(times)).hold(KEY, 0.05),
    ):
        raise AssertionError("held")
    assert holds.tried == 5
    assert holds.holders == {KEY: "another's"}
    assert KEY not in str(caught.value)


def test_what_the_block_raises_frees_it(holds: Holds) -> None:
    with pytest.raises(Interrupted), TokenLocks(holds).hold(KEY, 1.0):
        raise Interrupted
    assert holds.holders == {}


def test_an_interruption_between_the_taking_and_the_reply_frees_it(holds: Holds) -> None:
    holds.in_take = Interrupted()
    with pytest.raises(Interrupted), TokenLocks(holds).hold(KEY, 1.0):
        raise AssertionError("held")
    assert holds.holders == {}


def test_an_interruption_is_not_hidden_by_a_fault(holds: Holds) -> None:
    holds.in_take, holds.in_free = Interrupted(), lost()
    with pytest.raises(Interrupted), TokenLocks(holds).hold(KEY, 1.0):
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
    with TokenLocks(holds).hold(KEY, 1.0):
        pass
    assert "stays until it expires" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize("then", [{}, {KEY: "another's"}])
def test_a_lock_that_was_lost_is_told_and_left_to_its_holder(
    holds: Holds, then: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with TokenLocks(holds).hold(KEY, 1.0):
        holds.holders = dict(then)
    assert holds.holders == then
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "lost before its block ended" in record.message
    assert "30 s" in record.message
    assert KEY not in caplog.text
