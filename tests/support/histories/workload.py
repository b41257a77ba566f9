"""Clients that ask for operations, as a seed says, and record what came of them.

A visitor is a browser whose tabs send requests at the same time, with one cookie jar. After so many
operations, or a log-out, its session is read once more and another visitor takes its place; ids
that it had are presented again later.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from histories.client import ask
from histories.effects import NEW_IDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from histories.client import Answer
    from histories.record import Operation

# How often each operation is asked for.
WEIGHTS = dict.fromkeys(("key", "append", "nest", "count", "pair", "org", "rank", "stream"), 5)
WEIGHTS |= {"across": 3, "read": 14, "change": 10, "note": 7, "exclusive": 7, "assign": 6}
WEIGHTS |= {"fail": 2, "raise": 2, "login": 2, "cycle": 2, "logout": 1, "ghost": 4}
HOLDS = (0, 0, 2, 12)  # milliseconds between reading and changing
OPERATIONS = 50  # of one visitor
VISITORS = 2  # at a time
REMEMBERED = 8  # visitors whose old ids are presented later
IDENTITY = NEW_IDS | {"logout"}
AFTERWARDS = "afterwards"  # the process of the last reads, when all is over
_GHOSTS = ("read", "change", "append")
_LAST_SECONDS, _LAST_PAUSE = 30.0, 0.25  # to read a session once more, while a fault may go on
_PAUSE = 0.05  # after a request that could not begin a session


@dataclass
class Visitor:
    """One session, whatever ids it has, and the cookies it was given.

    One request at a time changes the id: two log-ins at once make two sessions, rightly, and a
    history is of one.
    """

    name: str
    cookie: str | None = None
    cookies: list[str] = field(default_factory=list)
    operations: int = 0
    under_way: int = 0
    changes_id: bool = False
    is_over: bool = False

    @property
    def is_finished(self) -> bool:
        """Whether nothing is asked for any more."""
        return self.is_over or self.operations >= OPERATIONS

    def learn(self, answer: Answer) -> None:
        """Take over what a response says of the cookie and the session, as a browser does."""
        operation = answer.operation
        if answer.sets_cookie:
            self.cookie = answer.cookie
            if answer.cookie is not None:
                self.cookies.append(answer.cookie)
        is_unknown = operation.name in IDENTITY and operation.outcome == "unknown"
        is_gone = operation.is_absent and not self.changes_id
        self.is_over |= self.cookie is None or is_unknown or is_gone


class Workload:
    """Asks the server on `port` until it is told to stop; `operations` is the record."""

    def __init__(self, port: int, seed: int, *, clients: int = 3) -> None:
        self.operations: list[Operation] = []
        self._port = port
        self._seed = seed
        self._clients = clients
        self._numbers = itertools.count(1)
        self._names = itertools.count(1)
        self._lock = threading.Lock()
        self._visitors: list[Visitor] = []
        self._former: list[Visitor] = []
        self._stop = threading.Event()

    def run(self) -> None:
        """Have all clients ask until `stop` is called."""
        with ThreadPoolExecutor(self._clients) as pool:
            runs = [pool.submit(self._client, number) for number in range(self._clients)]
            try:
                for run in runs:
                    run.result()
            finally:
                self.stop()

    def stop(self) -> None:
        """Begin no further operation."""
        self._stop.set()

    def read_once_more(self) -> None:
        """Read the sessions that are left; to be called when no fault goes on any more."""
        for visitor in self._visitors:
            self._read_last(AFTERWARDS, visitor)

    def _client(self, number: int) -> None:
        rng, name = random.Random(f"{self._seed} {number}"), f"client {number}"
        while not self._stop.is_set():
            finished = self._finished()
            if finished is not None:
                self._read_last(name, finished)
            if finished is not None or len(self._visitors) < VISITORS:
                self._begin(name)
            else:
                self._do_something(rng, name)

    def _finished(self) -> Visitor | None:
        """A visitor whose session is to be read once more: it makes room for another."""
        with self._lock:
            for visitor in self._visitors:
                if visitor.is_finished and not visitor.under_way:
                    self._visitors.remove(visitor)
                    self._former = [*self._former, visitor][-REMEMBERED:]
                    return visitor
        return None

    def _begin(self, name: str) -> None:
        visitor = Visitor(f"v{next(self._names)}")
        answer = self._ask(name, visitor, "start", None, 0)
        if answer.operation.outcome != "ok" or visitor.cookie is None:
            time.sleep(_PAUSE)
            return
        with self._lock:
            self._visitors.append(visitor)

    def _do_something(self, rng: random.Random, name: str) -> None:
        what = rng.choices(tuple(WEIGHTS), tuple(WEIGHTS.values()))[0]
        with self._lock:
            open_ones = [v for v in self._visitors if not v.is_finished]
            visitor = rng.choice(open_ones) if open_ones else None
            if visitor is not None:
                visitor.operations += 1
                visitor.under_way += 1
                if what in IDENTITY:
                    what = "read" if visitor.changes_id else what
                    visitor.changes_id = True
        if visitor is None:
            time.sleep(0.002)  # the others end what is under way
            return
        try:
            self._visit(rng, name, visitor, what)
        finally:
            with self._lock:
                visitor.under_way -= 1
                if what in IDENTITY:
                    visitor.changes_id = False

    def _visit(self, rng: random.Random, name: str, visitor: Visitor, what: str) -> None:
        hold = rng.choice(HOLDS)
        if what == "ghost":
            self._haunt(rng, name, [visitor, *self._former], hold)
        elif visitor.cookie is not None:
            self._ask(name, visitor, what, visitor.cookie, hold)

    def _haunt(self, rng: random.Random, name: str, visitors: Sequence[Visitor], hold: int) -> None:
        """Present an id that one of these visitors had, or has."""
        visitor = rng.choice(visitors)
        self._ask(name, visitor, rng.choice(_GHOSTS), rng.choice(visitor.cookies), hold)

    def _read_last(self, name: str, visitor: Visitor) -> None:
        until = time.monotonic() + _LAST_SECONDS
        while time.monotonic() < until:
            if visitor.cookie is None:
                return
            if self._ask(name, visitor, "read", visitor.cookie, 0).operation.outcome == "ok":
                return
            time.sleep(_LAST_PAUSE)

    def _ask(
        self, process: str, visitor: Visitor, name: str, cookie: str | None, hold: int
    ) -> Answer:
        """One request, recorded. The visitor learns from it, if the cookie was the present one."""
        answer = ask(
            self._port,
            cookie,
            process=process,
            session=visitor.name,
            name=name,
            number=next(self._numbers),
            hold=hold,
        )
        with self._lock:
            self.operations.append(answer.operation)
            if cookie == visitor.cookie:
                visitor.learn(answer)
        return answer
