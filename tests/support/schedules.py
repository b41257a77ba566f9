"""Processes whose store calls interleave as a seed says, and that can be killed between two calls.

Each "process" is a greenlet that gives way before every store call. So a schedule is repeated
exactly by its seed, and thousands of them take seconds.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from greenlet import getcurrent, greenlet

from wsgi_sessions.stores.memory.backend import open_memory

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from wsgi_sessions.contract import Backend


class Yielding:
    """A store that gives way before each call."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            parent = getcurrent().parent
            if parent is not None:
                parent.switch()
            return found(*args, **kwargs)

        return call


def open_yielding() -> Backend:
    """A memory store whose sessions give way before each call, in a process of a schedule."""
    backend = open_memory()
    return replace(backend, sessions=Yielding(backend.sessions))


class Process:
    """Something that runs, one store call at a time."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.result: Any = None
        self.is_killed = False
        self._greenlet = greenlet(lambda: self._run(work))

    def _run(self, work: Callable[[], Any]) -> None:
        self.result = work()

    @property
    def is_over(self) -> bool:
        return self.is_killed or self._greenlet.dead

    def steps(self, number: int) -> Process:
        """Be about to make the call of this number, the first one is 1."""
        for _ in range(number):
            self.step()
        return self

    def finish(self) -> Any:
        """Go on to the end; the result."""
        while not self.is_over:
            self.step()
        return self.result

    def step(self) -> None:
        """Make the store call it waits before, and go on up to the next one."""
        self._greenlet.switch()


def run(processes: list[Process], rng: random.Random, *, kills: int = 0) -> None:
    """Run all to their end in a random order; that many of them are killed somewhere."""
    doomed = {id(p): rng.randrange(12) for p in rng.sample(processes, kills)}
    while alive := [process for process in processes if not process.is_over]:
        process = rng.choice(alive)
        left = doomed.get(id(process), -1)
        if left == 0:
            process.is_killed = True  # and never runs again, not even its finally blocks
            continue
        doomed[id(process)] = left - 1
        # Sometimes much of one at a stretch: races of a slow process with several fast ones.
        for _ in range(rng.choice((1, 1, 1, 3, 20))):
            if not process.is_over and doomed.get(id(process)) != 0:
                process.step()
                doomed[id(process)] = doomed.get(id(process), -1)
