"""The contract of `wsgi_sessions.contract`, held against every store."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from redis_servers import wait_until
from store_urls import TAKING_OVER, Place

from wsgi_sessions.contract import Record
from wsgi_sessions.errors import LockTimeout, SessionExists, SessionGone, VersionConflict
from wsgi_sessions.identity import new_id, store_key
from wsgi_sessions.stores.sweeper import Sweeper
from wsgi_sessions.stores.token_locks import TokenLocks

if TYPE_CHECKING:
    from wsgi_sessions.contract import Backend


def about(version: int, payload: bytes, expires_at: float) -> Record:
    """A record whose expiry was written some moments ago."""
    moment: Any = pytest.approx(expires_at, abs=20)
    return Record(version, payload, moment)


def later(seconds: float = 1000.0) -> float:
    return time.time() + seconds


# -- create, load, save, touch, delete ---------------------------------------------------------


def test_nothing_is_there_at_first(backend: Backend, key: str) -> None:
    assert backend.sessions.load(key) is None
    backend.sessions.ping()


def test_what_is_created_is_loaded(backend: Backend, key: str) -> None:
    expires_at = later()
    backend.sessions.create(key, b"\x00payload\xff", expires_at)
    record = backend.sessions.load(key)
    assert record == about(1, b"\x00payload\xff", expires_at)


def test_create_never_replaces(backend: Backend, key: str) -> None:
    backend.sessions.create(key, b"first", later())
    with pytest.raises(SessionExists):
        backend.sessions.create(key, b"second", later())
    record = backend.sessions.load(key)
    assert record is not None
    assert (record.version, record.payload) == (1, b"first")


def test_a_save_replaces_payload_and_expiry_and_counts_up(backend: Backend, key: str) -> None:
    backend.sessions.create(key, b"1", later())
    for version in range(1, 6):
        saved = backend.sessions.save(
            key, b"x" * version, later(2000 + version), expected_version=version
        )
        assert saved == version + 1
        record = backend.sessions.load(key)
        assert record == about(version + 1, b"x" * version, later(2000))


def test_a_save_may_shorten_the_expiry(backend: Backend, key: str) -> None:
    backend.sessions.create(key, b"1", later())
    backend.sessions.touch(key, later(5000))
    backend.sessions.save(key, b"2", later(50), expected_version=1)
    record = backend.sessions.load(key)
    assert record is not None
    assert record.expires_at < later(100)


@pytest.mark.parametrize("size", [0, 1, 100, 1900, 2000, 5000, 70_000, 900_000])
def test_payloads_of_every_size_come_back(backend: Backend, key: str, size: int) -> None:
    """Growing, staying and shrinking, so that a file is written in place and replaced."""
    payload = bytes(i % 251 for i in range(size))
    backend.sessions.create(key, payload, later())
    backend.sessions.save(key, b"small", later(), expected_version=1)
    backend.sessions.save(key, payload + b"!", later(), expected_version=2)
    record = backend.sessions.load(key)
    assert record is not None
    assert (record.version, record.payload) == (3, payload + b"!")


@pytest.mark.parametrize("expected_version", [0, 1, 3, 99])
def test_a_save_at_another_version_is_a_conflict_with_the_current_record(
    backend: Backend, key: str, expected_version: int
) -> None:
    backend.sessions.create(key, b"1", later())
    backend.sessions.save(key, b"2", later(), expected_version=1)
    with pytest.raises(VersionConflict) as caught:
        backend.sessions.save(key, b"late", later(), expected_version=expected_version)
    assert (caught.value.current.version, caught.value.current.payload) == (2, b"2")
    assert not caught.value.is_after_retry
    record = backend.sessions.load(key)
    assert record is not None
    assert (record.version, record.payload) == (2, b"2")


def test_a_save_never_creates(backend: Backend, key: str) -> None:
    with pytest.raises(SessionGone):
        backend.sessions.save(key, b"x", later(), expected_version=1)
    assert backend.sessions.load(key) is None


def test_what_is_deleted_stays_dead(backend: Backend, key: str) -> None:
    backend.sessions.create(key, b"x", later())
    backend.sessions.delete(key)
    with pytest.raises(SessionGone):
        backend.sessions.save(key, b"late", later(), expected_version=1)
    backend.sessions.touch(key, later())
    backend.sessions.delete(key)  # idempotent
    assert backend.sessions.load(key) is None


def test_a_touch_moves_the_expiry_and_nothing_else(backend: Backend, key: str) -> None:
    backend.sessions.create(key, b"x", later(100))
    backend.sessions.touch(key, later(500))
    assert backend.sessions.load(key) == about(1, b"x", later(500))
    assert backend.sessions.save(key, b"y", later(100), expected_version=1) == 2


def test_a_touch_never_shortens_and_never_creates(backend: Backend, key: str) -> None:
    backend.sessions.touch(key, later())
    assert backend.sessions.load(key) is None
    backend.sessions.create(key, b"x", later(500))
    backend.sessions.touch(key, later(100))
    assert backend.sessions.load(key) == about(1, b"x", later(500))
    backend.sessions.touch(key, later(900))
    backend.sessions.touch(key, later(700))
    assert backend.sessions.load(key) == about(1, b"x", later(900))


def test_records_do_not_mix(backend: Backend) -> None:
    keys = [store_key(new_id()) for _ in range(20)]
    for number, key in enumerate(keys):
        backend.sessions.create(key, str(number).encode(), later())
    backend.sessions.delete(keys[3])
    for number, key in enumerate(keys):
        record = backend.sessions.load(key)
        assert (record.payload if record else None) == (
            None if number == 3 else str(number).encode()
        )


def test_a_closed_store_opens_again(backend: Backend, key: str) -> None:
    backend.sessions.create(key, b"x", later())
    backend.close()
    if backend.name != "memory":
        assert backend.sessions.load(key) is not None


# -- expiry ------------------------------------------------------------------------------------


class Clock:
    """Seconds that pass when the test says so; on a server, which has its own clock, for real."""

    def __init__(self, place: Place) -> None:
        self._is_real = place.name not in ("memory", "file")
        self._offset = 0.0
        self.idle = 0.05 if self._is_real else 100.0

    def __call__(self) -> float:
        return time.time() + self._offset

    def expire(self, backend: Backend, key: str) -> None:
        """Let a record that lives for `idle` from now expire."""
        if self._is_real:
            wait_until(lambda: backend.sessions.load(key) is None, "the expiry of a record")
        else:
            self._offset += self.idle + 1


def test_an_expired_record_is_none_and_cannot_be_saved_or_touched(place: Place, key: str) -> None:
    clock = Clock(place)
    backend = place.open(clock)
    backend.sessions.create(key, b"x", clock() + clock.idle)
    clock.expire(backend, key)
    assert backend.sessions.load(key) is None
    backend.sessions.touch(key, clock() + 1000)
    assert backend.sessions.load(key) is None
    assert list(backend.iteration.keys()) == []
    assert backend.iteration.count() == 0
    with pytest.raises(SessionGone):
        backend.sessions.save(key, b"y", clock() + 1000, expected_version=1)
    backend.sessions.create(key, b"new", clock() + 1000)
    assert backend.sessions.load(key) == about(1, b"new", clock() + 1000)
    backend.close()


def test_an_expiry_in_the_past_is_gone_at_once(backend: Backend, key: str) -> None:
    backend.sessions.create(key, b"x", time.time() - 10)
    assert backend.sessions.load(key) is None
    other = store_key(new_id())
    backend.sessions.create(other, b"x", later())
    backend.sessions.save(other, b"y", time.time() - 10, expected_version=1)
    assert backend.sessions.load(other) is None


def test_only_what_has_expired_is_deleted_in_chunks(place: Place) -> None:
    clock = Clock(place)
    backend = place.open(clock)
    if backend.expired is None or place.name == TAKING_OVER:
        pytest.skip("the server deletes expired records by itself")
    dead = [store_key(new_id()) for _ in range(7)]
    live = [store_key(new_id()) for _ in range(3)]
    clock.idle *= 10
    for number, key in enumerate(live):
        backend.sessions.create(key, b"x", clock() + clock.idle)
        if number < 2:
            backend.sessions.touch(key, clock() + 5000)
        else:
            backend.sessions.save(key, b"y", clock() + 5000, expected_version=1)
    for key in dead:
        backend.sessions.create(key, b"x", clock() + clock.idle)
    clock.expire(backend, dead[-1])
    assert [backend.expired.delete_expired(3) for _ in range(4)] == [3, 3, 1, 0]
    assert sorted(backend.iteration.keys()) == sorted(live)
    backend.close()


def test_expired_records_are_counted_where_they_stay(place: Place) -> None:
    clock = Clock(place)
    backend = place.open(clock)
    if backend.expired is None or place.name == TAKING_OVER:
        pytest.skip("the server deletes expired records by itself")
    dead = [store_key(new_id()) for _ in range(2)]
    for key in dead:
        backend.sessions.create(key, b"x", clock() + clock.idle)
    for _ in range(3):
        backend.sessions.create(store_key(new_id()), b"live", clock() + 5000)
    for key in dead:
        clock.expire(backend, key)
    assert backend.expired.count_expired() == 2
    assert backend.expired.delete_expired(100) == 2
    assert backend.expired.count_expired() == 0
    backend.close()


# -- iteration, index, quarantine, locks -------------------------------------------------------


def test_iteration_and_count_see_live_sessions_only(backend: Backend) -> None:
    keys = {store_key(new_id()) for _ in range(25)}
    for key in keys:
        backend.sessions.create(key, b"x", later())
    backend.index.add("alice", next(iter(keys)), later())
    backend.sessions.delete(keys.pop())
    assert set(backend.iteration.keys()) == keys
    assert backend.iteration.count() == 24


def test_a_store_with_a_clock_tells_its_time(backend: Backend) -> None:
    if backend.name == "memory":
        assert backend.clock is None
        return
    assert backend.clock is not None
    assert backend.clock.now() == pytest.approx(time.time(), abs=20)


def test_the_index_finds_the_sessions_of_a_principal(backend: Backend) -> None:
    first, second, third = (store_key(new_id()) for _ in range(3))
    for principal, key in (("alice", first), ("alice", second), ("bob", third), ("alice", first)):
        backend.index.add(principal, key, later())
    assert sorted(backend.index.keys_of("alice")) == sorted([first, second])
    assert backend.index.keys_of("bob") == [third]
    backend.index.remove("alice", first)
    backend.index.remove("alice", first)
    backend.index.remove("nobody", first)
    assert backend.index.keys_of("alice") == [second]
    assert backend.index.keys_of("nobody") == []


@pytest.mark.parametrize(
    "principal", ["../../etc/passwd", "*", "{}", "ü\n\0", "x" * 4000, "\ud800"]
)
def test_a_principal_is_never_taken_for_a_path_or_a_pattern(
    backend: Backend, principal: str
) -> None:
    key = store_key(new_id())
    backend.index.add("other", store_key(new_id()), later())
    backend.index.add(principal, key, later())
    assert backend.index.keys_of(principal) == [key]


def test_an_index_entry_that_has_expired_is_not_shown(backend: Backend, key: str) -> None:
    backend.index.add("alice", key, time.time() - 5)
    assert backend.index.keys_of("alice") == []


def test_a_record_set_aside_is_gone_and_counted(backend: Backend, key: str) -> None:
    assert backend.quarantine is not None
    backend.sessions.create(key, b"damaged", later())
    backend.quarantine.set_aside(key, 2, "not at this version")
    assert backend.sessions.load(key) is not None
    backend.quarantine.set_aside(key, 1, "for the test")
    assert backend.sessions.load(key) is None
    assert backend.quarantine.quarantined() == 1
    assert list(backend.iteration.keys()) == []
    with pytest.raises(SessionGone):
        backend.sessions.save(key, b"late", later(), expected_version=1)
    backend.quarantine.set_aside(key, 1, "again")


def test_the_quarantine_is_bounded(backend: Backend) -> None:
    assert backend.quarantine is not None
    for _ in range(110):
        key = store_key(new_id())
        backend.sessions.create(key, b"damaged", later())
        backend.quarantine.set_aside(key, 1, "for the test")
    assert 90 <= backend.quarantine.quarantined() <= 100


def test_a_lock_keeps_others_out_and_frees_on_every_path(backend: Backend, key: str) -> None:
    other = store_key(new_id())
    with backend.locks.hold(key, 1.0):
        started = time.monotonic()
        with pytest.raises(LockTimeout), backend.locks.hold(key, 0.05):
            pytest.fail("held twice")
        assert time.monotonic() - started < 5
        with backend.locks.hold(other, 0.0):
            pass
    with pytest.raises(ZeroDivisionError), backend.locks.hold(key, 0.0):
        _ = 1 / 0
    with backend.locks.hold(key, 0.0):
        pass


def test_a_lock_is_free_after_its_time_to_live(backend: Backend, key: str) -> None:
    """By the server's clock: a holder that was killed keeps nobody out for longer."""
    if not isinstance(backend.locks, TokenLocks):
        pytest.skip("the lock ends with the process that holds it")
    holds: Any = backend.locks._holds
    latest = holds.clock(key) + 600
    holds.ttl = 0.05
    assert holds.take(key, "dead", latest).outcome == "taken"
    deadline = time.monotonic() + 20
    while holds.take(key, "next", latest).outcome == "held":
        assert time.monotonic() < deadline
    holds.ttl = 1000.0
    assert holds.take(key, "next", latest).outcome == "taken"
    assert holds.take(key, "dead", latest).outcome == "held"
    assert holds.free(key, "dead") == "lost"
    assert holds.free(key, "next") == "freed"


def test_a_lock_is_not_taken_for_somebody_who_is_gone(backend: Backend, key: str) -> None:
    """An attempt bears its deadline by the server's clock; who has the lock already has it."""
    if not isinstance(backend.locks, TokenLocks):
        pytest.skip("the lock ends with the process that holds it")
    holds: Any = backend.locks._holds
    now = holds.clock(key)
    late = holds.take(key, "gone", now - 0.1)
    assert late.outcome == "late"
    assert now <= late.now < now + 600
    assert holds.take(key, "here", now + 600).outcome == "taken"
    assert holds.take(key, "here", now - 0.1).outcome == "taken"
    assert holds.take(key, "gone", now - 0.1).outcome != "taken"
    assert holds.free(key, "here") == "freed"
    assert holds.take(key, "gone", now - 0.1).outcome == "late"
    assert holds.take(key, "next", now + 600).outcome == "taken"
    assert holds.free(key, "next") == "freed"


def test_threads_take_turns_at_a_lock(backend: Backend, key: str) -> None:
    inside = 0
    most = 0

    def visit(_: int) -> None:
        nonlocal inside, most
        with backend.locks.hold(key, 20.0):
            inside += 1
            most = max(most, inside)
            time.sleep(0)
            inside -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(visit, range(60)))
    assert most == 1


def test_a_sweep_of_a_live_store_removes_nothing(backend: Backend, key: str) -> None:
    backend.sessions.create(key, b"x", later())
    sweep = Sweeper(backend, interval=60).sweep()
    assert sweep.expired == 0
    assert backend.sessions.load(key) is not None


# -- races -------------------------------------------------------------------------------------


def add_one(backend: Backend, key: str) -> None:
    """Count up in the payload by compare-and-set, as a client of the contract does."""
    record = backend.sessions.load(key)
    while True:
        assert record is not None
        payload = str(int(record.payload) + 1).encode()
        try:
            backend.sessions.save(key, payload, later(), expected_version=record.version)
        except VersionConflict as conflict:
            record = conflict.current
        else:
            return


def test_threads_racing_on_one_key_lose_nothing(backend: Backend, key: str) -> None:
    backend.sessions.create(key, b"0", later())
    start = threading.Barrier(8)

    def race(_: int) -> None:
        start.wait()
        for _ in range(25):
            add_one(backend, key)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(race, range(8)))
    record = backend.sessions.load(key)
    assert record is not None
    assert (record.payload, record.version) == (b"200", 201)


_RACER = """
import sys
sys.path[:0] = {tests!r}
from test_stores import Place, add_one
place, key, times = Place({name!r}, {url!r}, {prefix!r}), {key!r}, 100
backend = place.open()
backend.sessions.ping()
print("ready", flush=True)
sys.stdin.readline()
for _ in range(times):
    add_one(backend, key)
    record = backend.sessions.load(key)
    assert record is not None
backend.close()
"""


def test_processes_racing_on_one_key_lose_nothing(
    place: Place, backend: Backend, key: str, request: pytest.FixtureRequest
) -> None:
    if place.name == "memory":
        pytest.skip("memory is of one process")
    backend.sessions.create(key, b"0", later())
    program = _RACER.format(tests=sys.path, key=key, **place._asdict())
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == b"ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write(b"go\n")
        racer.stdin.flush()
    for racer in racers:
        racer.communicate(timeout=60)
        assert racer.returncode == 0
    record = backend.sessions.load(key)
    assert record is not None
    assert (record.payload, record.version) == (b"400", 401)


def test_a_reader_never_sees_half_a_record_or_an_older_one(place: Place, key: str) -> None:
    """Versions that a reader sees never go back, and each payload is of its version."""
    backend = place.open()
    body = {
        version: bytes([version % 251]) * (50 + 37 * version % 9000) for version in range(1, 402)
    }
    backend.sessions.create(key, body[1], later())
    done = threading.Event()
    faults: list[str] = []

    def read() -> None:
        seen = 0
        while not done.is_set():
            record = backend.sessions.load(key)
            if record is None or record.payload != body[record.version] or record.version < seen:
                faults.append(f"{seen} -> {record and record.version}")
                return
            seen = record.version

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for version in range(1, 401):
        backend.sessions.save(key, body[version + 1], later(), expected_version=version)
    done.set()
    for reader in readers:
        reader.join()
    assert faults == []
    backend.close()


def test_a_delete_is_final_whoever_saves_meanwhile(backend: Backend) -> None:
    """A saver in a loop cannot bring back what is deleted under its hands."""
    for _ in range(20):
        key = store_key(new_id())
        backend.sessions.create(key, b"0", later())
        ended: list[str] = []

        def save(key: str = key, ended: list[str] = ended) -> None:
            version = 1
            try:
                while True:
                    version = backend.sessions.save(key, b"x", later(), expected_version=version)
            except SessionGone:
                ended.append("gone")

        saver = threading.Thread(target=save)
        saver.start()
        backend.sessions.delete(key)
        saver.join(10)
        assert ended == ["gone"]
        assert backend.sessions.load(key) is None
