"""Moving a session between two stores, against every crash, log-out and race."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

import pytest
from schedules import Process, open_yielding, run

from wsgi_sessions.core.commit.loop import Lifetimes
from wsgi_sessions.core.endings.report import EndingReport
from wsgi_sessions.core.endings.traces import Traces
from wsgi_sessions.core.events import Events
from wsgi_sessions.core.record.envelope import Envelope, seal
from wsgi_sessions.errors import SessionGone, VersionConflict
from wsgi_sessions.identity import new_id, store_key
from wsgi_sessions.migration.copying import copy
from wsgi_sessions.migration.mover import Observed
from wsgi_sessions.migration.takeover import read_through
from wsgi_sessions.migration.transfer import is_transfer
from wsgi_sessions.stores.memory.backend import open_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.contract import Backend, Record

KEY = store_key(new_id())
FIRST, SECOND = b"the first state", b"the second state"


def later(seconds: float = 1000.0) -> float:
    return time.time() + seconds


class MovingWorld:
    """Two stores with one session in the old one, and what can happen to it."""

    def __init__(self, open_one: Callable[[], Backend] = open_yielding) -> None:
        self.new, self.old = open_one(), open_one()
        self.until = later()
        self.old.sessions.create(KEY, FIRST, self.until)

    def through(self) -> Backend:
        """What a worker that reads through has."""
        return read_through(self.new, self.old, absolute_lifetime=5000)

    def back(self) -> Backend:
        """What a worker of the other direction has."""
        return read_through(self.old, self.new, absolute_lifetime=5000)

    def states(self) -> tuple[str, str]:
        """What lies in the new and the old store."""
        found = (Observed(store.sessions.load(KEY)).state for store in (self.new, self.old))
        new, old = found
        return new, old

    # -- what can happen ---------------------------------------------------------------------------

    def use(self) -> Record | None:
        return self.through().sessions.load(KEY)

    def use_back(self) -> Record | None:
        return self.back().sessions.load(KEY)

    def log_out(self) -> None:
        self.through().sessions.delete(KEY)

    def log_out_back(self) -> None:
        self.back().sessions.delete(KEY)

    def move_the_rest(self) -> None:
        copy(self.old, self.new, leave="moved")

    def copy_all(self) -> None:
        copy(self.old, self.new)

    def save_in_old(self) -> str:
        """A worker that knows the old store only."""
        return _change(self.old)

    def save_through(self) -> str:
        return _change(self.through())


def _change(backend: Backend) -> str:
    """Append a letter by compare-and-set, as the commit loop does: whether it was stored."""
    record = backend.sessions.load(KEY)
    while record is not None:
        if is_transfer(record.payload):
            return "refused"  # 503: a format from the future
        try:
            backend.sessions.save(
                KEY, record.payload + b"+", record.expires_at, expected_version=record.version
            )
        except VersionConflict as conflict:
            record = conflict.current
        except SessionGone:
            return "gone"
        else:
            return "saved"
    return "unknown"


def test_a_session_is_moved_at_its_next_use() -> None:
    world = MovingWorld()
    record = world.use()
    assert record is not None
    assert (record.payload, record.expires_at) == (FIRST, world.until)
    assert world.states() == ("live", "moved")
    assert world.use() == record


@pytest.mark.parametrize("move", ["use", "copy"])
def test_a_moved_session_leaves_a_trace_in_the_old_store(move: str) -> None:
    new, old = open_memory(), open_memory()
    assert old.endings is not None
    report = EndingReport(Events(), Lifetimes(), traces=Traces(old.endings, 60.0))
    old.sessions.create(KEY, seal(Envelope(5.0, b"", {}, {}), KEY), later())
    both = read_through(new, old, absolute_lifetime=5000, report=report)
    if move == "use":
        assert both.sessions.load(KEY) is not None
    else:
        copy(old, new, leave="moved", report=report)
    both.close()
    trace = old.endings.trace_of(KEY)
    assert trace is not None
    assert (trace.why, trace.begun_at) == ("taken-over", 5.0)
    assert "memory store" in str(trace.detail)
    assert new.endings is not None
    assert new.endings.trace_of(KEY) is None


def test_a_session_in_neither_store_is_absent() -> None:
    world = MovingWorld()
    world.log_out()
    assert world.use() is None
    assert world.states() == ("absent", "absent")


def test_a_worker_of_the_old_store_alone_is_refused_during_and_after_a_move() -> None:
    world = MovingWorld()
    record = world.old.sessions.load(KEY)
    assert record is not None
    world.use()
    with pytest.raises(VersionConflict) as caught:
        world.old.sessions.save(KEY, SECOND, later(), expected_version=record.version)
    assert is_transfer(caught.value.current.payload)
    assert len(caught.value.current.payload) >= 9  # long enough to be told from a damaged record
    moved = world.use()
    assert moved is not None
    assert moved.payload == FIRST


@pytest.mark.parametrize("after", ["use", "move_the_rest", "use_back", "log_out"])
@pytest.mark.parametrize("first", ["use", "move_the_rest", "copy_all", "log_out"])
@pytest.mark.parametrize("step", range(1, 14))
def test_a_kill_at_any_step_leaves_a_state_that_another_process_continues(
    first: str, step: int, after: str
) -> None:
    world = MovingWorld()
    killed = Process(getattr(world, first))
    for _ in range(step):
        if not killed.is_over:
            killed.step()
    getattr(world, after)()
    record = world.use()
    if after == "log_out":
        assert record is None
        assert world.use_back() is None
    elif first != "log_out":
        assert record is not None, world.states()
        assert record.payload == FIRST
        assert world.states()[0] == "live"
    assert world.use() == record


SCHEDULES = [range(1000), pytest.param(range(1000, 20_000), marks=pytest.mark.soak)]
FORWARD = ["use", "use", "use", "move_the_rest", "save_in_old", "save_through"]
BACKWARD = ["use_back", "use_back", "use_back", "save_in_old"]


def _race(seed: int, names: list[str], kills: int) -> tuple[MovingWorld, dict[str, list[Any]]]:
    world, rng = MovingWorld(), random.Random(seed)
    processes = [Process(getattr(world, name)) for name in names]
    run(processes, rng, kills=kills)
    results: dict[str, list[Any]] = {}
    for name, process in zip(names, processes, strict=True):
        results.setdefault(name, []).append("killed" if process.is_killed else process.result)
    return world, results


@pytest.mark.parametrize("seeds", SCHEDULES, ids=lambda seeds: str(len(seeds)))
@pytest.mark.parametrize("kills", [0, 1, 2])
def test_a_session_survives_any_race_once_with_every_update(kills: int, seeds: range) -> None:
    for seed in seeds:
        rng = random.Random(seed)
        names = rng.sample([*FORWARD, *BACKWARD], 4)
        world, results = _race(seed, names, kills)
        record = world.use()
        said = (seed, names, results, world.states())
        assert record is not None, said
        assert None not in [*results.get("use", []), *results.get("use_back", [])], said
        assert set(results.get("save_through", [])) <= {"saved", "killed"}, said
        saved = [*results.get("save_in_old", []), *results.get("save_through", [])]
        least = saved.count("saved")
        most = least + saved.count("killed")
        assert FIRST + b"+" * least <= record.payload <= FIRST + b"+" * most, (said, record)
        assert world.states()[0] == "live", said
        assert world.states()[1] not in ("live", "claimed"), said


@pytest.mark.parametrize(
    "rivals", [[*FORWARD, "copy_all", "log_out_back"], [*BACKWARD, "log_out"]], ids=("to", "from")
)
@pytest.mark.parametrize("seeds", SCHEDULES, ids=lambda seeds: str(len(seeds)))
@pytest.mark.parametrize("kills", [0, 1, 2])
def test_a_log_out_survives_any_race(kills: int, rivals: list[str], seeds: range) -> None:
    for seed in seeds:
        rng = random.Random(seed)
        names = ["log_out", *rng.sample(rivals, 3)]
        world, results = _race(seed, names, kills)
        if "killed" in results["log_out"]:
            assert world.use() == world.use()
            continue
        said = (seed, names, results, world.states())
        assert world.use() is None, said
        assert world.use_back() is None, said
        assert "live" not in world.states(), said


# The calls of a move: 1 and 2 look into the new store, 3 into the old one, 4 claims, 5 makes the
# pending record, 6 confirms, 7 makes it a session, 8 signs off. With a claim there, 5 is the 4th.


def test_a_worker_asleep_since_the_claim_brings_nothing_back() -> None:
    """The session has ended in the new store by itself; the sign in the old one is there still."""
    world = MovingWorld()
    asleep = Process(world.use).steps(5)
    assert world.use() is not None
    world.new.sessions.delete(KEY)
    assert asleep.finish() is None
    assert world.states() == ("absent", "moved")


def test_a_log_out_between_two_sleepers_is_noticed() -> None:
    world = MovingWorld()
    first = Process(world.use).steps(5)
    second = Process(world.use).steps(4)
    first.steps(2)
    world.log_out()
    second.step()  # makes the pending record again, at the version that the first one saw
    assert first.finish() is None
    assert second.finish() is None
    assert world.states() == ("absent", "absent")


def test_a_log_out_catches_a_session_that_is_being_moved_back() -> None:
    world = MovingWorld()
    world.use()
    logging_out = Process(world.log_out).steps(2)
    assert world.use_back() is not None
    logging_out.finish()
    assert world.use_back() is None
    assert world.use() is None


def test_a_copy_that_lives_on_in_the_old_store_does_not_come_back() -> None:
    """Where the session in the new store ends early."""
    world = MovingWorld(open_memory)
    world.copy_all()
    assert world.states() == ("live", "live")
    world.log_out()
    assert world.states() == ("absent", "absent")
