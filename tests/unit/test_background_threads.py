"""Threads in the background outlive whatever a store raises, and say so once."""

from __future__ import annotations

import logging
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from wsgi_sessions.background import FaultLog
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.leases.keeper import Keeper
from wsgi_sessions.stores.memory.backend import open_memory
from wsgi_sessions.stores.sweeper import Sweeper

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.upkeep import OnDeleted

FAULTS = [StoreUnavailable("no answer"), RuntimeError("a driver's own"), UnicodeError("label")]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_the_sweeper_goes_on_and_says_so_once(
    fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    backend = open_memory()
    assert backend.expired is not None
    sweeper = Sweeper(backend, interval=0.001)
    real, looks = backend.expired.delete_expired, 0

    def failing(limit: int, told: OnDeleted | None) -> int:
        nonlocal looks
        looks += 1
        if looks <= 3:
            raise fault
        sweeper.close()
        return real(limit, told)

    expired: Any = backend.expired
    expired.delete_expired = failing
    with caplog.at_level(logging.INFO, "wsgi_sessions.stores.sweeper"):
        sweeper.rounds.run()
    assert looks == 4
    assert caplog.text.count("a sweep of the session store failed, the next one will do: ") == 1
    assert "over since" in caplog.text


def test_advice_that_fails_does_not_keep_the_sweeper_from_its_work(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = open_memory()

    class Advice:
        def warnings(self) -> list[str]:
            raise RuntimeError("a driver's own")

    object.__setattr__(backend, "advice", Advice())
    sweeper = Sweeper(backend, interval=3600)
    sweeper.rounds.advise()
    assert "could not be examined" in caplog.text


def test_the_keeper_of_leases_says_the_same_fault_once(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []

    def failing() -> None:
        done.append(1)
        raise RuntimeError("a driver's own")

    with closing(Keeper(3600)) as keeper:
        for _ in range(3):
            keeper.do(failing)
    assert len(done) == 3
    assert caplog.text.count("a lease could not be kept: ") == 1


@pytest.mark.parametrize(
    ("fault", "level"),
    [(FAULTS[0], "WARNING"), (OSError(5, "EIO"), "WARNING"), (FAULTS[1], "ERROR")],
)
def test_only_unexpected_faults_have_a_traceback(
    fault: Exception, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    trouble = FaultLog(logging.getLogger("wsgi_sessions.test"), "work is not done")
    trouble.met(fault)
    (record,) = caplog.records
    assert record.levelname == level
    assert bool(record.exc_info) is (level == "ERROR")


def test_another_fault_is_said_too_and_the_same_one_after_a_success(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trouble = FaultLog(logging.getLogger("wsgi_sessions.test"), "work is not done")
    steps: list[Callable[[], None]] = [
        lambda: trouble.met(FAULTS[0]),
        lambda: trouble.met(FAULTS[1]),
        trouble.over,
        lambda: trouble.met(FAULTS[1]),
    ]
    for step in steps:
        step()
    assert caplog.text.count("work is not done: ") == 3  # `over` is for INFO
