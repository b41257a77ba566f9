"""One contestant in a process of its own, which makes requests to itself when told to.

So each has its own interpreter, settings and heap, and can be traced; the parent takes turns.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from benchmarks.contestants.table import BY_NAME
from benchmarks.harness.places import Place
from benchmarks.harness.visitors import Answer, Visitors
from benchmarks.harness.writers import contend

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.harness.rounds import Timer
    from benchmarks.harness.visitors import Clock


class Child:
    """A contestant's process. A context manager.

    `tree` is a checkout whose package the process uses; None: the installed one.
    """

    def __init__(self, name: str, place: Place, tree: str | None = None) -> None:
        self.name = name
        start = f"import sys; sys.path.insert(0, {tree!r}); " if tree else ""
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"{start}from {__name__} import main; main()", name],
            env={**os.environ, **place.environ(), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # its exceptions are results: see `Answer`
            text=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def log_in(self, count: int, **query: str | int) -> None:
        """Begin sessions, for so many visitors."""
        self._ask("log_in", count, _query(query))

    def timer(self, path: str, clock: Clock = "wall") -> Timer:
        """A timer of requests that the visitors make in turn.

        By the clock of the processor, the seconds are those in which it ran this process: a wait
        for a server, or for other programs of the machine, is not in them.
        """
        return lambda count: float(self._ask("time", path, count, clock))

    def latencies(self, path: str, count: int, *, pause: float = 0.0) -> list[float]:
        """The seconds that each of so many requests took, by visitors chosen at random."""
        found: list[float] = self._ask("latencies", path, count, pause)
        return found

    def request(self, path: str, visitor: int = 0, **query: str | int) -> Answer:
        """One request."""
        return Answer(*self._ask("request", path, visitor, _query(query)))

    def contend(self, writers: int, seconds: float) -> dict[str, Any]:
        """See `writers.contend`."""
        found: dict[str, Any] = self._ask("contend", writers, seconds)
        return found

    def has_answered(self, seconds: float) -> bool:
        """Wait for an answer to what was begun; whether there is one by then."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        return bool(ready)

    def begin(self, *command: Any) -> None:
        """Say what to do, and do not wait; see `finish`."""
        assert self._process.stdin is not None
        print(json.dumps(command), file=self._process.stdin, flush=True)

    def finish(self) -> Any:
        """The answer to what was begun. Raises RuntimeError with what the child raised."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with {self._process.wait()}")
        kind, value = json.loads(line)
        if kind == "error":
            raise RuntimeError(f"{self.name}: {value}")
        return value

    def close(self) -> None:
        """End it, without waiting for what it does."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Child:
        try:
            self.finish()  # it has built its application
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _ask(self, *command: Any) -> Any:
        self.begin(*command)
        return self.finish()


def _query(query: dict[str, str | int]) -> str:
    return "&".join(f"{name}={value}" for name, value in query.items())


def start_all(names: Iterable[str], place: Place) -> dict[str, Child]:
    """All of them, started side by side; to be entered one by one."""
    return {name: Child(name, place) for name in names}


# -- in the child ----------------------------------------------------------------------------------


def main() -> None:
    """Build the contestant, then do what each line of standard input says."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a contestant prints is no reply

    def reply(kind: str, value: Any) -> None:
        print(json.dumps([kind, value]), file=replies, flush=True)

    try:
        visitors = Visitors(BY_NAME[sys.argv[1]].build(Place.from_environ()))
        reply("done", None)
        for line in sys.stdin:
            command, *arguments = json.loads(line)
            if command == "contend":
                reply("done", contend(visitors, *arguments))
            else:
                reply("done", getattr(visitors, command)(*arguments))
    except Exception as error:
        reply("error", f"{type(error).__name__}: {error}")
        raise


if __name__ == "__main__":
    main()
