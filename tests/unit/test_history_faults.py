"""Holders that stand still, primaries that are lost: a history shows what must not come of it."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from gunicorn_server import GunicornServer
from histories.checkers import judge
from histories.client import ask
from histories.places import PLACES
from histories.record import History
from histories.runs import APP, Plan, run
from histories.trap import FOLDER, LOCK_SECONDS, MOMENTS, Trap
from redis_servers import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from histories.client import Answer

LOSSES = {"lost", "fault as absence"}


class Client:
    """Asks for operations on one session."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._numbers = itertools.count(1)
        self._cookie: str | None = None

    def ask(self, name: str) -> Answer:
        answer = ask(
            self._port,
            self._cookie,
            process="client",
            session="v1",
            name=name,
            number=next(self._numbers),
            hold=0,
        )
        self._cookie = answer.cookie
        return answer


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def stopped_in_a_block(
    stack: ExitStack, place: str, folder: Path, moment: str = "read", app: str = APP
) -> History:
    """A request enters a block and stands still; another enters one; the first goes on. A read."""
    at = stack.enter_context(PLACES[place](folder))
    environ = {**at.environ, FOLDER: str(folder), LOCK_SECONDS: "0.5"}
    server = stack.enter_context(
        GunicornServer(worker_class="sync", url=at.url, app=app, environ=environ)
    )
    client, trap = Client(server.port), Trap(folder)
    thread = stack.enter_context(ThreadPoolExecutor(1))
    stack.callback(trap.clear)
    start = client.ask("start")
    trap.set(moment)
    first = thread.submit(client.ask, "exclusive")
    wait_until(lambda: trap.caught() is not None, "a holder that stands still")
    second = client.ask("exclusive")
    trap.clear()
    answers = [start, first.result(), second, client.ask("read")]
    return History(tuple(answer.operation for answer in answers))


BY_DEFAULT = {("redis", "changed"), ("sqlite", "entered")}


@pytest.mark.parametrize(
    ("place", "moment"),
    [
        pytest.param(
            place, moment, marks=[] if (place, moment) in BY_DEFAULT else [pytest.mark.soak]
        )
        for place in ("redis", "sqlite")
        for moment in MOMENTS
    ],
)
def test_a_holder_that_stands_still_for_longer_than_its_lock_lives_is_refused(
    place: str, moment: str, tmp_path: Path, stack: ExitStack
) -> None:
    history = stopped_in_a_block(stack, place, tmp_path, moment)
    assert judge(history) == []
    assert [operation.status for operation in history.operations] == [200, 503, 200, 200]


@pytest.mark.parametrize("place", ["redis", pytest.param("sqlite", marks=pytest.mark.soak)])
def test_one_that_overwrites_instead_is_found(place: str, tmp_path: Path, stack: ExitStack) -> None:
    planted = "histories.planted:without_fences()"
    history = stopped_in_a_block(stack, place, tmp_path, app=planted)
    assert {"overlap", "lost"} <= {found.kind for found in judge(history)}


def test_a_lock_of_the_kernel_lasts_as_long_as_its_holder_stands_still(
    tmp_path: Path, stack: ExitStack
) -> None:
    history = stopped_in_a_block(stack, "file", tmp_path)
    assert judge(history) == []
    assert [operation.status for operation in history.operations] == [200, 200, 503, 200]


@pytest.mark.histories
@pytest.mark.parametrize("fault", ["killed-primary", "stopped-primary", "cut-off-primary"])
def test_workers_that_do_not_leave_a_lost_primary_are_found(fault: str) -> None:
    # With this seed, the first primary that is lost goes on without replicas.
    plan = Plan("sentinel", "gthread", 8.0, seed=4, faults=(fault,))
    # A run may lose its primary at a moment when nobody has just stored anything.
    runs = (run(plan, "histories.planted:without_sentinels()") for _ in range(4))
    assert any(LOSSES & {found.kind for found in result.violations} for result in runs)
