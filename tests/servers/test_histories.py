"""Histories of real servers: what clients saw of their sessions while faults happened, judged."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis
from click.testing import CliRunner
from gunicorn_server import WORKER_CLASSES
from histories.checkers import judge
from histories.command import keep_failing, main, summary
from histories.faults import FAULTS, faults_of
from histories.faults.network import Proxy
from histories.places import PLACES
from histories.record import History, Operation, read, write
from histories.runs import Plan, Result, run
from histories.table import COLUMNS, add, table_of
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis_servers import RedisServer, wait_until

if TYPE_CHECKING:
    from gunicorn_server import WorkerClass

SECONDS = float(os.environ.get("HISTORY_SECONDS", "30"))  # on each store, besides starting it
STORES = [name for name in PLACES if name != "tmpfs"]  # whose code is that of files
FOUND = Path("histories-found")  # where a history with a violation is kept
_NAMES = {"read", "change", "exclusive", "stream", "login", "cycle", "assign", "fail", "raise"}


def violations(plan: Plan) -> list[str]:
    """Make a run; what was found in it, which is kept then."""
    result = run(plan)
    print(summary(result))
    assert {operation.name for operation in result.history.operations} >= {"start", "read"}
    return [summary(result), keep_failing(result, FOUND)] if result.violations else []


@pytest.mark.histories
@pytest.mark.parametrize("worker_class", WORKER_CLASSES)
@pytest.mark.parametrize("place", STORES)
def test_a_minute_of_faults_on_each_store_breaks_no_promise(
    place: str, worker_class: WorkerClass
) -> None:
    # All that strike one after the other: each finds all workers there.
    faults = tuple(name for name in faults_of(place) if FAULTS[name].strike is not None)
    assert violations(Plan(place, worker_class, SECONDS / len(WORKER_CLASSES), 1, faults)) == []


@pytest.mark.histories
def test_a_short_run_has_operations_of_each_kind_and_no_violation() -> None:
    result = run(Plan("file", "gthread", 3.0, seed=1))
    assert not result.violations
    assert {operation.name for operation in result.history.operations} >= _NAMES
    assert all(o.outcome != "unknown" for o in result.history.operations)


def test_a_history_with_a_violation_is_kept_and_can_be_judged_again(tmp_path: Path) -> None:
    history = History((Operation(2, "client", "v1", "read", 2.0, 3.0, sent="id", values={}),))
    result = Result(Plan("file", "sync", 1.0, seed=7), history, tuple(judge(history)))
    assert "kept" in keep_failing(result, tmp_path)
    small = tmp_path / "file-sync-7-small.jsonl"
    assert read(small) == history
    judged = CliRunner().invoke(main, ["judge", str(small), "--show"])
    assert judged.exit_code == 1
    assert "fault as absence: session v1: read 2 found no session" in judged.output


def test_a_history_without_a_violation_is_judged_so(tmp_path: Path) -> None:
    write(History(()), tmp_path / "right.jsonl")
    judged = CliRunner().invoke(main, ["judge", str(tmp_path / "right.jsonl")])
    assert (judged.exit_code, judged.output) == (0, "no violation\n")


@pytest.mark.histories
def test_each_fault_happens_somewhere_and_strikes_a_run() -> None:
    assert all(faults_of(place) for place in PLACES)
    result = run(Plan("redis", "gthread", 4.0, seed=1, faults=("lost-reply", "restart", "kill")))
    assert not result.violations
    assert result.strikes


def test_runs_are_summed_up_by_store_and_fault(tmp_path: Path) -> None:
    operations = [Operation(n, "client", "v1", "read", n, n + 0.5, values={}) for n in (1, 2, 6)]
    last = Operation(9, "afterwards", "v1", "read", 60.0, 60.5, values={})
    history = History((*operations, last))
    for seed, faults in ((1, ("pause",)), (2, ("restart",)), (3, ())):
        add(Result(Plan("redis", "sync", 1.0, seed, faults), history, ()), tmp_path / "runs")
    found = History((Operation(2, "client", "v1", "read", 2.0, 3.0, sent="id", values={}),))
    wrong = Result(Plan("file", "sync", 1.0, 1, ("kill",)), found, tuple(judge(found)))
    add(wrong, tmp_path / "runs")
    assert table_of(tmp_path / "runs").splitlines() == [
        f"| store | {' | '.join(COLUMNS)} | violations |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        "| redis | 4 (4.0 s) |  |  |  | 8 (4.0 s) |  |  |  | 0 |",
        "| file |  | 1 (0.0 s) |  |  |  |  |  |  | 1 |",
    ]


def test_each_fault_has_a_column() -> None:
    names = [fault for faults in COLUMNS.values() for fault in faults]
    assert sorted(names) == sorted(["no fault", *FAULTS])


def impatient(proxy: Proxy) -> redis.Redis:
    """A client that tries once."""
    return redis.Redis(port=proxy.port, socket_timeout=0.1, retry=Retry(NoBackoff(), 0))


def test_a_proxy_delivers_a_chosen_command_late_though_its_client_is_gone() -> None:
    with RedisServer() as server, Proxy(server.port) as proxy:
        with closing(
            redis.Redis(port=proxy.port, socket_timeout=0.1, retry=Retry(NoBackoff(), 0))
        ) as client:
            client.set("one", 1)
            proxy.hold_command(b"SET", 1, 0.5)
            client.set("one", 2)
            with pytest.raises(redis.TimeoutError):
                client.set("one", 3)
            assert server.command("GET", "one") == b"2"
        wait_until(lambda: server.command("GET", "one") == b"3", "the late command")


def test_a_proxy_loses_the_reply_of_what_is_done() -> None:
    with RedisServer() as server, Proxy(server.port) as proxy:
        with closing(impatient(proxy)) as client:
            client.set("one", 1)
            proxy.lose_reply(0)
            with pytest.raises(redis.ConnectionError):
                client.set("one", 2)
        assert server.command("GET", "one") == b"2"
