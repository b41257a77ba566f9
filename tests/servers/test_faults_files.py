"""Faults of the file system under a real worker, injected into its system calls by the kernel.

A fault that passes is not noticed. One that stays is answered with 503, and the session is as it
was: a file that cannot be used is never taken for a session that is not there.
"""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from gunicorn_server import APPLICATION, GunicornServer, assert_unavailable, record_file
from operations import GROW, LOGIN, LOGOUT, READ, START, STARTED, WRITE, PageOperation
from redis_servers import wait_until
from requirements_of_tests import require
from strace import LINK, RENAME, UNLINK, Strace, unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gunicorn_server import HttpBrowser

FSTAT, MKDIR = "?fstat,?newfstatat", "?mkdir,mkdirat"


@dataclass(frozen=True)
class FileFault:
    """Which system calls of an operation fail, and how: the n-th, or all from it on.

    `target` is "own" for calls on the session's own file, "any" for all that the worker makes: a
    file that is being written has another name yet.
    """

    operation: PageOperation
    calls: str
    error: str
    target: Literal["own", "any"]
    nth: int

    def __str__(self) -> str:
        call = self.calls.lstrip("?").partition(",")[0]
        return f"{self.operation.name}-{call}-{self.nth}-{self.error}"

    @contextmanager
    def injected(
        self, server: GunicornServer, browser: HttpBrowser, how: Literal["once", "for ever"]
    ) -> Iterator[Strace]:
        """The fault is there while in the context, and must have struck."""
        path = record_file(server, browser) if self.target == "own" else None
        when = f"when={self.nth}" if how == "once" else f"when={self.nth}+"
        (worker,) = server.workers()
        with Strace(worker, self.calls, f"error={self.error}:{when}", path=path) as tracer:
            yield tracer
        struck = tracer.detach()
        assert struck == 1 if how == "once" else struck >= 1, f"{self} struck {struck} times"


def faults(
    operation: PageOperation,
    calls: str,
    errors: str,
    *,
    target: Literal["own", "any"] = "own",
    nth: tuple[int, ...] = (1,),
) -> list[FileFault]:
    return [FileFault(operation, calls, error, target, n) for error in errors.split() for n in nth]


FAULTS = [
    *faults(READ, "openat", "ESTALE EIO EACCES EMFILE"),
    *faults(READ, FSTAT, "ESTALE EIO"),
    *faults(READ, "read", "ESTALE EIO"),
    *faults(WRITE, "openat", "ESTALE EIO EACCES EMFILE", nth=(1, 2)),
    *faults(WRITE, "read", "ESTALE EIO", nth=(1, 2)),
    *faults(WRITE, "flock", "ESTALE EIO ENOLCK"),
    *faults(WRITE, "pwrite64", "EIO ENOSPC EDQUOT ESTALE"),
    *faults(WRITE, "fdatasync", "EIO ENOSPC", target="any"),
    *faults(GROW, RENAME, "EIO ENOSPC EACCES ESTALE", target="any"),
    *faults(GROW, "pwrite64", "EIO ENOSPC", target="any"),
    *faults(GROW, "fdatasync", "EIO", target="any"),
    *faults(LOGIN, LINK, "EIO ENOSPC EACCES", target="any"),
    *faults(LOGIN, "pwrite64", "EIO ENOSPC", target="any", nth=(1, 2)),
    *faults(LOGIN, "fdatasync", "EIO", target="any", nth=(1, 2)),
    *faults(LOGIN, "openat", "ESTALE", nth=(1, 2)),
    *faults(LOGOUT, "openat", "ESTALE EIO EACCES", nth=(1, 2)),
    *faults(LOGOUT, "flock", "ESTALE ENOLCK"),
    *(AFTER_THE_END := faults(LOGOUT, UNLINK, "EIO EACCES ESTALE")),
]
FAULTS_OF_A_NEW_SESSION = [
    *faults(START, LINK, "EIO ENOSPC", target="any"),
    *faults(START, "pwrite64", "EIO ENOSPC", target="any"),
    *faults(START, "fdatasync", "EIO", target="any"),
]


@pytest.fixture(scope="module")
def single_worker() -> Iterator[GunicornServer]:
    """One worker with one file store. What it changes, it flushes to the disk."""
    require(unavailable())
    environ = {"WSGI_SESSIONS_FSYNC": "data", "WSGI_SESSIONS_SWEEP_INTERVAL": "off"}
    with GunicornServer(worker_class="sync", workers=1, environ=environ) as server:
        yield server


@pytest.fixture
def server(single_worker: GunicornServer) -> Iterator[GunicornServer]:
    """The single worker, which must end the test as it began it."""
    before = single_worker.workers(), len(single_worker.log())
    yield single_worker
    assert single_worker.workers() == before[0]
    assert "Traceback" not in single_worker.log()[before[1] :]
    folders = os.walk(single_worker.sessions)
    assert [name for _, _, names in folders for name in names if ".tmp-" in name] == []
    assert not (single_worker.sessions / "quarantine").exists()


@pytest.fixture
def visitor(server: GunicornServer) -> HttpBrowser:
    """A browser with a session."""
    browser = server.browser()
    assert START.request(browser).status == 200
    return browser


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_passing_fault_is_not_noticed(
    server: GunicornServer, visitor: HttpBrowser, fault: FileFault
) -> None:
    before, former = visitor.twin(), visitor.cookie
    with fault.injected(server, visitor, "once"):
        reply = fault.operation.request(visitor)

    assert reply.status == 200
    if fault.operation.changes is None:
        assert before.is_anonymous()
    else:
        assert visitor.values() == {**STARTED, **fault.operation.changes}
    assert (visitor.cookie == former) == (fault.operation in (READ, WRITE, GROW))


@pytest.mark.parametrize("fault", [f for f in FAULTS if f not in AFTER_THE_END], ids=str)
def test_a_lasting_fault_leaves_the_session_as_it_was(
    server: GunicornServer, visitor: HttpBrowser, fault: FileFault
) -> None:
    before = visitor.cookie
    with fault.injected(server, visitor, "for ever"):
        replies = [fault.operation.request(visitor) for _ in range(2)]

    for reply in replies:
        assert_unavailable(reply)
    assert visitor.cookie == before
    assert visitor.values() == STARTED
    assert visitor.get("/read").json["principal"] is None
    assert fault.operation.request(visitor).status == 200


@pytest.mark.parametrize("fault", AFTER_THE_END, ids=str)
def test_a_log_out_takes_place_though_its_file_cannot_be_removed(
    server: GunicornServer, visitor: HttpBrowser, fault: FileFault
) -> None:
    before = visitor.twin()
    with fault.injected(server, visitor, "for ever"):
        assert fault.operation.request(visitor).status == 200
    assert visitor.cookie is None
    assert before.is_anonymous()
    assert "stay until they expire" in server.log()


@pytest.mark.parametrize("fault", FAULTS_OF_A_NEW_SESSION, ids=str)
def test_a_new_session_with_a_passing_fault(server: GunicornServer, fault: FileFault) -> None:
    visitor = server.browser()
    with fault.injected(server, visitor, "once"):
        assert START.request(visitor).status == 200
    assert visitor.values() == STARTED


@pytest.mark.parametrize("fault", FAULTS_OF_A_NEW_SESSION, ids=str)
def test_a_new_session_with_a_lasting_fault(server: GunicornServer, fault: FileFault) -> None:
    """Who cannot be given a session is told so, and not given a cookie for nothing."""
    visitor, before = server.browser(), set(server.sessions.glob("sessions/*/*"))
    with fault.injected(server, visitor, "for ever"):
        assert_unavailable(START.request(visitor))
    assert visitor.cookie is None
    assert set(server.sessions.glob("sessions/*/*")) == before


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_a_log_in_that_cannot_be_indexed(
    server: GunicornServer, visitor: HttpBrowser, error: str
) -> None:
    """The user's entry fails: then nothing else of the log-in has taken place either."""
    user = f"user {error}"
    digest = hashlib.sha256(f"\x1f{APPLICATION}\x1f{user}".encode()).hexdigest()
    folder = server.sessions / "index" / digest[:2] / digest
    (worker,) = server.workers()
    with Strace(worker, MKDIR, f"error={error}", path=str(folder)) as tracer:
        assert_unavailable(visitor.get("/login", user=user))
    assert tracer.detach() > 0
    assert visitor.values() == STARTED
    assert visitor.get("/login", user=user).status == 200
    assert visitor.get("/read").json["principal"] == user


def test_a_temporary_that_cannot_be_locked(server: GunicornServer) -> None:
    visitor, fault = server.browser(), FileFault(START, "flock", "ENOLCK", "any", 1)
    with fault.injected(server, visitor, "for ever"):
        assert_unavailable(START.request(visitor))
    left = list(server.sessions.glob("sessions/*/.tmp-*"))
    for path in left:
        path.unlink()
    assert left == []


def test_requests_without_session_go_on(server: GunicornServer, visitor: HttpBrowser) -> None:
    fault = FileFault(READ, "openat", "EIO", "own", 1)
    with fault.injected(server, visitor, "for ever"):
        assert_unavailable(visitor.get("/read"))
        assert visitor.get("/none").status == 200
        assert server.browser().is_anonymous()


# -- short writes, for real ------------------------------------------------------------------------


@contextmanager
def file_size_limit(pid: int, size: int) -> Iterator[None]:
    """A process can write files up to this size only: a write beyond is short, the next fails."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("operation", [WRITE, GROW, LOGIN, START], ids=lambda o: o.name)
def test_a_write_that_stops_in_the_middle(server: GunicornServer, operation: PageOperation) -> None:
    """The kernel takes the first bytes of a record and then no more, as on a full disk."""
    visitor = server.browser()
    if operation is not START:
        START.request(visitor)
    before = visitor.twin()
    (worker,) = server.workers()
    # Within the second slot of a new session's file, so that it is torn there.
    with file_size_limit(worker, 2100):
        replies = [operation.request(visitor) for _ in range(2)]
        if operation is not START:
            assert visitor.values() == STARTED

    for reply in replies:
        assert_unavailable(reply)
    assert visitor.cookie == before.cookie
    if operation is not START:
        assert visitor.values() == STARTED
    assert operation.request(visitor).status == 200
    assert visitor.values() == {**STARTED, **(operation.changes or {})}


def test_a_write_that_goes_on_after_a_pause(server: GunicornServer, visitor: HttpBrowser) -> None:
    """The kernel takes the first bytes, and the others when it is asked again."""
    path, before = Path(record_file(server, visitor)), len(server.log())
    was = path.read_bytes()
    (worker,) = server.workers()
    # While the first, short call is kept from returning, the limit is lifted.
    with (
        ThreadPoolExecutor(1) as pool,
        Strace(worker, "pwrite64", "delay_exit=500000:when=1", path=str(path)),
        file_size_limit(worker, 2100),
    ):
        reply = pool.submit(WRITE.request, visitor)
        wait_until(lambda: path.read_bytes() != was, "the first bytes of the record")
        assert path.read_bytes()[2100:] == was[2100:]
        resource.prlimit(worker, resource.RLIMIT_FSIZE, resource.getrlimit(resource.RLIMIT_FSIZE))
        assert reply.result().status == 200

    assert visitor.values() == {**STARTED, **(WRITE.changes or {})}
    assert "attempt" not in server.log()[before:], "it was tried again as a whole instead"


# -- a disk that is full, for real -----------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small tmpfs")
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    """What is stored goes on being read and changed; what needs room is refused; log-out works."""
    url = f"file://{small_disk}/sessions"
    with GunicornServer(worker_class="sync", workers=1, url=url) as server:
        visitor, leaving = server.browser(), server.browser()
        for browser in (visitor, leaving):
            START.request(browser)
        filler = small_disk / "filler"
        fill(filler)
        for operation in (GROW, LOGIN):
            assert_unavailable(operation.request(visitor))
        assert_unavailable(START.request(server.browser()))
        assert visitor.values() == STARTED
        assert WRITE.request(visitor).status == 200
        gone = leaving.twin()
        assert LOGOUT.request(leaving).status == 200
        assert gone.is_anonymous()
        filler.unlink()
        assert GROW.request(visitor).status == 200
        assert visitor.values() == {**STARTED, **(WRITE.changes or {}), **(GROW.changes or {})}


def fill(path: Path) -> None:
    """Write to a file until nothing more goes."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1024))
