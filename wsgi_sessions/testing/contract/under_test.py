"""The store under test, and the fixtures and helpers of the contract's tests."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pytest

from wsgi_sessions import texts
from wsgi_sessions.contract import Record
from wsgi_sessions.identity import new_id, store_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_sessions.contract import Backend


ODD_TEXTS = ["../../etc/passwd", "*", "{x}", "a b\nc", "user:5", "é", "\udc80", "x" * 4000, ""]


@texts.shows("clock", "processes", "removes_expired", "bumps_kept")
@dataclass(frozen=True)
class StoreUnderTest:
    """A way to open the store, and the facts that its tests need.

    Args:
        open: Opens the store in a place that no other test uses, the same place at each call. It
            accepts ``clock`` by keyword (a function that returns seconds since the epoch), unless
            sessions expire by a server's clock. It has to reach other processes: pass a
            function of a module, or a `functools.partial` of one.
        clock: Whether sessions expire by the clock that `open` was given, or by a server's.
        processes: Whether all processes see the same sessions, or one alone.
        removes_expired: Whether the store removes expired sessions by itself, at whatever time.
        bumps_kept: The number of bumps of a version stamp that its history keeps.
    """

    open: Callable[..., Backend]
    clock: Literal["given", "server"] = "given"
    processes: Literal["all", "one"] = "all"
    removes_expired: bool = False
    bumps_kept: int = 100


class Fixtures:
    """The fixtures of the tests; a store's test class overrides ``store``."""

    @pytest.fixture
    def store(self) -> StoreUnderTest:
        """The store under test."""
        raise NotImplementedError(
            f"{type(self).__name__} needs a fixture 'store' that returns a StoreUnderTest"
        )

    @pytest.fixture
    def backend(self, store: StoreUnderTest) -> Iterator[Backend]:
        """The store, open and empty."""
        with closing(store.open()) as opened:
            yield opened

    @pytest.fixture
    def key(self) -> str:
        """The store key of a session that is not there."""
        return another_key()


class PassingTime:
    """A clock that the test moves; for a store that goes by a server's clock, the real one.

    A record that is to expire gets `idle` seconds to live.
    """

    def __init__(self, store: StoreUnderTest) -> None:
        self._store = store
        self._offset = 0.0
        self.idle = 0.05 if store.clock == "server" else 100.0

    def __call__(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self._offset

    def open(self) -> Backend:
        """Open the store with this clock."""
        by_server = self._store.clock == "server"
        return self._store.open() if by_server else self._store.open(clock=self)

    def expire(self, backend: Backend, *keys: str) -> None:
        """Let records that were given `idle` seconds expire."""
        if self._store.clock == "given":
            self._offset += self.idle + 1
            return
        load = backend.sessions.load
        wait_until(lambda: not any(map(load, keys)), "the expiry of records")


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Wait until `holds()` is true; fail the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.005)


def another_key() -> str:
    """Return a store key that nothing is stored under."""
    return store_key(new_id())


def later(seconds: float = 1000.0) -> float:
    """Return the time `seconds` from now, in seconds since the epoch."""
    return time.time() + seconds


def about(version: int, payload: bytes, expires_at: float) -> Record:
    """Return a value equal to a record whose expiry is within 20 seconds of `expires_at`."""
    moment: Any = pytest.approx(expires_at, abs=20)
    return Record(version, payload, moment)


def state_of(record: Record | None) -> tuple[int, bytes] | None:
    """Return a record's version and payload."""
    return None if record is None else (record.version, record.payload)
