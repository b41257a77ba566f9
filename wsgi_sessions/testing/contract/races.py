"""Races: threads and processes on one session, and a process that is killed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from wsgi_sessions.errors import SessionGone
from wsgi_sessions.testing.contract.processes import (
    PROCESSES,
    TIMES,
    OtherProcess,
    add_one,
    body_of,
    count,
    write,
)
from wsgi_sessions.testing.contract.under_test import (
    Fixtures,
    another_key,
    later,
    state_of,
    wait_until,
)

if TYPE_CHECKING:
    from wsgi_sessions.contract import Backend
    from wsgi_sessions.testing.contract.under_test import StoreUnderTest


class _Reader(threading.Thread):
    """Reads a record of `body_of` in a loop; `fault` describes the first wrong read."""

    def __init__(self, backend: Backend, key: str) -> None:
        super().__init__(name="wsgi_sessions reader under test", daemon=True)
        self.least = 1  # this version is stored by now
        self.reads = 0
        self.is_over = False
        self.fault: str | None = None
        self._backend = backend
        self._key = key

    def run(self) -> None:
        while not self.is_over and self.fault is None:
            least = self.least
            record = self._backend.sessions.load(self._key)
            self.reads += 1
            if record is None or record.version < least:
                self.fault = f"{record and record.version} after version {least} was stored"
            elif record.payload != body_of(record.version):
                self.fault = f"a payload that is not of version {record.version}"


class RaceLaws(Fixtures):
    """The laws of `SessionStore` about concurrent callers."""

    def test_threads_racing_on_one_key_lose_nothing(self, backend: Backend, key: str) -> None:
        backend.sessions.create(key, b"0", later())
        start = threading.Barrier(8)

        def race(_: int) -> None:
            start.wait()
            for _ in range(25):
                add_one(backend, key)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(race, range(8)))
        assert state_of(backend.sessions.load(key)) == (201, b"200")

    def test_processes_racing_on_one_key_lose_nothing(
        self, store: StoreUnderTest, backend: Backend, key: str
    ) -> None:
        if store.processes == "one":
            pytest.skip("memory is of one process")
        backend.sessions.create(key, b"0", later())
        racers = [OtherProcess(count, store.open, key) for _ in range(PROCESSES)]
        for racer in racers:
            racer.wait_until_ready()
        for racer in racers:
            racer.begin()
        for racer in racers:
            racer.end()
        total = PROCESSES * TIMES
        assert state_of(backend.sessions.load(key)) == (total + 1, str(total).encode())

    def test_a_process_that_is_killed_leaves_a_whole_record(
        self, store: StoreUnderTest, backend: Backend, key: str
    ) -> None:
        """Nor does it leave anything that keeps others from writing."""
        if store.processes == "one":
            pytest.skip("memory is of one process")
        backend.sessions.create(key, body_of(1), later())
        writer = OtherProcess(write, store.open, key)
        writer.wait_until_ready()
        writer.begin()

        def has_written() -> bool:
            record = backend.sessions.load(key)
            return record is not None and record.version > 30

        try:
            wait_until(has_written, "a process that writes")
        finally:
            writer.kill()
        record = backend.sessions.load(key)
        assert record is not None
        assert record.payload == body_of(record.version)
        saved = backend.sessions.save(key, b"next", later(), expected_version=record.version)
        assert state_of(backend.sessions.load(key)) == (saved, b"next")

    def test_a_reader_sees_no_half_record_and_no_older_one(
        self, backend: Backend, key: str
    ) -> None:
        """A read sees every save that ended before it began, and the payload of its version."""
        backend.sessions.create(key, body_of(1), later())
        readers = [_Reader(backend, key) for _ in range(3)]
        for reader in readers:
            reader.start()
        version = 1
        while version < 200 or min(reader.reads for reader in readers) < 20:
            if not all(reader.is_alive() for reader in readers):
                break
            body = body_of(version + 1)
            version = backend.sessions.save(key, body, later(), expected_version=version)
            for reader in readers:
                reader.least = version
        for reader in readers:
            reader.is_over = True
            reader.join()
        assert [reader.fault for reader in readers] == [None] * 3

    def test_delete_is_final_whoever_saves_at_the_same_time(self, backend: Backend) -> None:
        """A caller that saves in a loop cannot bring back a deleted record."""
        for _ in range(20):
            key = another_key()
            backend.sessions.create(key, b"0", later())
            ended: list[str] = []

            def save(key: str = key, ended: list[str] = ended) -> None:
                version = 1
                try:
                    while True:
                        version = backend.sessions.save(
                            key, b"x", later(), expected_version=version
                        )
                except SessionGone:
                    ended.append("gone")

            saver = threading.Thread(target=save, daemon=True)
            saver.start()
            backend.sessions.delete(key)
            saver.join(10)
            assert ended == ["gone"]
            assert backend.sessions.load(key) is None
