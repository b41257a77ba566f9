"""Measure 6: what a visitor sees when something fails, and what is left of the session afterwards.

A table of outcomes. Faults are real: a stale handle is injected by strace into the first opening of
the session's file, the disk is a small tmpfs that is full, a stored record is overwritten in part,
Redis is stopped (SIGSTOP).
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import redis
import strace
from redis_servers import RedisServer

from benchmarks.contestants.table import Contestant, present
from benchmarks.harness.child import Child
from benchmarks.harness.rounds import progress
from benchmarks.harness.visitors import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from benchmarks.harness.places import Place

USER = b"somebody"
DAMAGE = b"\xff" * 16
GROWTH = 20_000  # bytes
PATIENCE = 5.0  # seconds


def run(place: Place) -> dict[str, Any]:
    """All of it, as JSON: for each fault and contestant what was seen and what was left."""
    taking_part = [one for one in present(place)[0] if one.kind in ("ours", "peer")]
    rows: dict[str, dict[str, Any]] = {}
    for name, (stores, try_out) in FAULTS.items():
        rows[name] = {}
        for one in taking_part:
            if one.store in stores:
                progress(f"faults: {name}: {one.name}")
                rows[name][one.name] = try_out(one, place)
    progress("")
    return rows


def _outcome(answer: Answer | None, child: Child, fresh: Callable[[], bool]) -> dict[str, Any]:
    """What was seen; and by the same visitor afterwards, when the fault is over."""
    after = child.request("/state")
    is_there = after.status == 200 and USER.decode() in after.body
    kept = (
        "nothing: logged out"
        if not is_there
        else ("the change" if fresh() else "the session as it was")
    )
    return {"seen": _seen(answer), "left": kept}


def _seen(answer: Answer | None) -> str:
    if answer is None:
        return f"nothing: still waiting after {PATIENCE:.0f} s"
    if answer.status == 0:
        return f"500: {answer.body.partition(':')[0]}"
    if answer.body == "gone":
        return "logged out, no error"
    if answer.status != 200:
        return f"{answer.status} after {answer.seconds * 1000:.0f} ms"
    return "the page"


def _never() -> bool:
    return False


# -- files -----------------------------------------------------------------------------------------


def _stale(contestant: Contestant, place: Place) -> dict[str, Any]:
    """The first opening of the session's file fails with ESTALE, once."""
    reason = strace.unavailable()
    if reason is not None:
        return {"left out": reason}
    with _alone(contestant, place, "stale") as (child, folder):
        paths = [_the_record(Files(folder))[0]]
        calls = "?open,openat"
        with strace.Strace(child.pid, calls, "error=ESTALE:when=1", path=paths) as tracer:
            answer = child.request("/read")
            if tracer.detach() == 0:
                return {"left out": "it opens no file of its own for each request"}
        return _outcome(answer, child, _never)


def _full(contestant: Contestant, place: Place) -> dict[str, Any]:
    """The disk is full, and the session grows."""
    folder = place.part(f"full-{contestant.adapter.replace(':', '-')}")
    with ExitStack() as stack:
        reason = stack.enter_context(_small_disk(folder))
        if reason is not None:
            return {"left out": reason}
        own = place._replace(folder=folder)
        child = stack.enter_context(Child(contestant.name, own))
        child.log_in(1)
        filler = Path(folder, "filler")
        _fill(filler)
        answer = child.request("/grow", size=GROWTH)
        filler.unlink()
        return _outcome(answer, child, lambda: _has_grown(child))


@contextmanager
def _small_disk(folder: str) -> Iterator[str | None]:
    """A tmpfs of 4 MiB; or the reason why there can be none."""
    command = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", folder]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        yield "no mount command"
        return
    if done.returncode:
        yield f"a small tmpfs cannot be mounted: {done.stderr.strip()}"
        return
    try:
        yield None
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def _fill(filler: Path) -> None:
    size = 65536
    with filler.open("wb", buffering=0) as file:
        while size >= 1:
            try:
                file.write(b"f" * size)
            except OSError:
                size //= 2


def _has_grown(child: Child) -> bool:
    return f'"text": {GROWTH}' in child.request("/state").body


# -- damage ----------------------------------------------------------------------------------------


def _damaged(contestant: Contestant, place: Place) -> dict[str, Any]:
    """16 bytes in the middle of the stored record are overwritten."""
    with _alone(contestant, place, "damaged") as (child, folder), ExitStack() as stack:
        records: Records = Files(folder)
        if contestant.store == "redis":
            client = stack.enter_context(redis.Redis.from_url(str(place.redis)))
            records = Strings(client)
        name, data = _the_record(records)
        records.replace(name, _spoil(data))
        answer = child.request("/read")
        found = _outcome(answer, child, _never)
        return {**found, "record": _fate(name, records)}


class Records(Protocol):
    """Whatever is stored, by name."""

    def all(self) -> dict[str, bytes]:
        """All of it."""

    def replace(self, name: str, data: bytes) -> None:
        """Write one."""


class Files:
    """The files of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def all(self) -> dict[str, bytes]:
        """See `Records`."""
        paths = [path for path in self._folder.rglob("*") if path.is_file()]
        return {str(path): path.read_bytes() for path in paths}

    def replace(self, name: str, data: bytes) -> None:
        """See `Records`."""
        Path(name).write_bytes(data)


class Strings:
    """The strings of a Redis."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def all(self) -> dict[str, bytes]:
        """See `Records`."""
        keys = [bytes(key) for key in self._client.scan_iter()]
        strings = [key for key in keys if self._client.type(key) in (b"string", "string")]
        values: list[Any] = [self._client.get(key) for key in strings]
        return {key.decode(): value or b"" for key, value in zip(strings, values, strict=True)}

    def replace(self, name: str, data: bytes) -> None:
        """See `Records`."""
        self._client.set(name, data, keepttl=True)


def _the_record(records: Records) -> tuple[str, bytes]:
    """The one that shows the user's name; the longest, where values are encoded."""
    stored = records.all().items()
    return max(stored, key=lambda one: (USER in one[1], len(one[1])))


def _spoil(data: bytes) -> bytes:
    begin = max(0, (data.find(USER) if USER in data else len(data) // 2) - 4)
    return data[:begin] + DAMAGE + data[begin + len(DAMAGE) :]


def _fate(name: str, records: Records) -> str:
    damaged = [one for one, data in records.all().items() if DAMAGE in data]
    if name in damaged:
        return "left as it is"
    return "set aside for a look" if damaged else "gone"


# -- Redis -----------------------------------------------------------------------------------------


def _hung(contestant: Contestant, place: Place) -> dict[str, Any]:
    """Redis does not answer for five seconds, while a request reads the session."""
    with RedisServer() as server:
        own = place._replace(folder=place.part("hung"), redis=server.url)
        with Child(contestant.name, own) as child:
            child.log_in(1)
            os.kill(server.pid, signal.SIGSTOP)
            try:
                child.begin("request", "/read", 0, "")
                in_time = child.has_answered(PATIENCE)
            finally:
                os.kill(server.pid, signal.SIGCONT)
            late = Answer(*child.finish())
            return _outcome(late if in_time else None, child, _never)


# -- one session in one place ----------------------------------------------------------------------


@contextmanager
def _alone(contestant: Contestant, place: Place, name: str) -> Iterator[tuple[Child, Path]]:
    """A contestant with one session, in a folder (or a Redis) where there is nothing else."""
    folder = place.part(f"{name}-{contestant.adapter.replace(':', '-')}")
    if place.redis is not None:
        with redis.Redis.from_url(place.redis) as client:
            client.flushall()
    with Child(contestant.name, place._replace(folder=folder)) as child:
        child.log_in(1)
        yield child, Path(folder)


FAULTS: Mapping[str, tuple[tuple[str, ...], Callable[[Contestant, Place], dict[str, Any]]]] = {
    "a stale file handle (ESTALE), once": (("file",), _stale),
    "the disk is full": (("file", "sqlite"), _full),
    "a damaged record": (("file", "redis"), _damaged),
    "Redis hangs": (("redis",), _hung),
}


def as_lines(report: Mapping[str, Any]) -> list[str]:
    """For people."""
    lines = []
    for fault, rows in report.items():
        lines += [f"{fault:46}{'what the visitor sees':40}what is left"]
        for name, row in rows.items():
            if "left out" in row:
                lines.append(f"  {name:44}left out: {row['left out']}")
                continue
            record = f"; the record: {row['record']}" if "record" in row else ""
            lines.append(f"  {name:44}{row['seen']:40}{row['left']}{record}")
    return lines
