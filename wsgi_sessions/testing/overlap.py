"""Overlapping pieces of work, in the same order at each run."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from wsgi_sessions.errors import LockTimeout
from wsgi_sessions.testing.tap import StoreTap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from wsgi_sessions.contract import Backend
    from wsgi_sessions.mutex import Held

T = TypeVar("T")
WRITES = ("create", "save", "touch", "delete")
PATIENCE = 30.0
_MOST_ROUNDS = 100


class Overlap:
    """Runs pieces of work so that all have read the store before the first of them writes to it.

    Each has a thread of its own, but only one runs at a time: the first up to its first write, then
    the second up to its own, and so on; then the first to its end, the second to its end, and so
    on. A piece that waits for a mutex lets the others run. The order is the same at each run,
    whatever the machine does.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lanes: dict[int, _Lane[Any]] = {}  # by the thread's ident

    def run(self, works: Sequence[Callable[[], T]]) -> list[T]:
        """Run all of them and return their results in order.

        Raises the exception of the first one that failed, and RuntimeError if one neither ends nor
        calls its store within 30 seconds, as when it waits for another one.
        """
        lanes = [_Lane(work, self._lanes) for work in works]
        with StoreTap(self._backend, self._around):
            while any(not lane.is_over for lane in lanes):
                for lane in lanes:
                    lane.run_on()
        for lane in lanes:
            if lane.error is not None:
                raise lane.error
        return [lane.result for lane in lanes]

    def _around(self, name: str, operation: Any, /, *args: Any, **more: Any) -> Any:
        lane = self._lanes.get(threading.get_ident())
        if lane is None:  # a thread of the background
            return operation(*args, **more)
        if name == "hold":
            return self._hold(lane, operation, *args, **more)
        if name in WRITES and not lane.has_read:
            lane.has_read = True
            lane.wait()
        return operation(*args, **more)

    @contextmanager
    def _hold(self, lane: _Lane[Any], hold: Any, key: str, timeout: float) -> Iterator[Held]:
        """Wait for a mutex, and let the others run until it is free."""
        with ExitStack() as lock:
            for _ in range(_MOST_ROUNDS if timeout > 0 else 0):
                try:
                    held = lock.enter_context(hold(key, 0.0))
                except LockTimeout:
                    lane.wait()
                else:
                    break
            else:
                held = lock.enter_context(hold(key, timeout))
            yield held


class _Lane(Generic[T]):
    """One piece of work; it runs only when told to."""

    result: T

    def __init__(self, work: Callable[[], T], lanes: dict[int, _Lane[Any]]) -> None:
        self.is_over = False
        self.has_read = False
        self.error: BaseException | None = None
        self._work = work
        self._lanes = lanes
        self._may_run = threading.Semaphore(0)
        self._waits = threading.Semaphore(0)
        self._thread = threading.Thread(
            target=self._run, name="wsgi_sessions overlapping request", daemon=True
        )

    def run_on(self) -> None:
        """Run it until it waits again or ends."""
        if self.is_over:
            return
        if not self._thread.is_alive():
            self._thread.start()
        self._may_run.release()
        if not self._waits.acquire(timeout=PATIENCE):
            raise RuntimeError(
                f"an overlapping request neither ended nor called its store in {PATIENCE:.0f} s: "
                "it must not wait for another one"
            )

    def wait(self) -> None:
        """Let the others run; called in its own thread."""
        self._waits.release()
        self._may_run.acquire()

    def _run(self) -> None:
        self._lanes[threading.get_ident()] = self
        self._may_run.acquire()
        try:
            self.result = self._work()
        except BaseException as error:  # noqa: BLE001  # raised again by `Overlap.run`
            self.error = error
        finally:
            del self._lanes[threading.get_ident()]
            self.is_over = True
            self._waits.release()
