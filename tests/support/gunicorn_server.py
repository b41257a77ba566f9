"""Real gunicorn servers for the end-to-end tests, and a small browser to ask them.

A server has its own folder (log, events, sessions), listens on a loopback port that this module
binds first (so nobody else can take it), and is stopped by its own process id::

    with GunicornServer(worker_class="sync", url="file:///…") as server:
        browser = server.browser()
        browser.get("/start")
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPMessage
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import urlencode

import race_app
from redis_servers import wait_until

from wsgi_sessions.identity import store_key
from wsgi_sessions.stores.named import of_application
from wsgi_sessions.stores.urls import open_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from typing_extensions import Self

    from wsgi_sessions.contract import Backend

WorkerClass = Literal["sync", "gthread", "gevent"]
WORKER_CLASSES: tuple[WorkerClass, ...] = ("sync", "gthread", "gevent")
SECRET = "a-secret-of-the-tests-with-32-bytes-or-more"
COOKIE = "session"
APPLICATION = "tests"
_TESTS = Path(__file__).parent


def store_of(url: str, key_prefix: str, timeout: float = 5.0) -> Backend:
    """The store of a server with this prefix, as its own application has it."""
    backend = open_backend(url, key_prefix=f"{key_prefix}@{APPLICATION}:", timeout=timeout)
    return of_application(backend, APPLICATION)


class GunicornServer:
    """One gunicorn with an application on a store, and the processes that belong to it.

    `app` is what gunicorn is asked to load, `environ` are further variables for the workers
    (None: not to be set),
    `options` further words of its command line.
    """

    def __init__(
        self,
        *,
        worker_class: WorkerClass,
        url: str | None = None,
        workers: int = 3,
        app: str = "race_app:create()",
        environ: Mapping[str, str | None] | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ws-gunicorn-"))
        self.worker_class = worker_class
        self.url = url or f"file://{self.folder}/sessions"
        self._workers = workers
        self._app = app
        self._options = options
        self._log = self.folder / "log"
        self._events = self.folder / "events"
        self._events.touch()
        self._environ = {
            "WSGI_SESSIONS_URL": self.url,
            "WSGI_SESSIONS_SECRET_KEYS": SECRET,
            "WSGI_SESSIONS_APPLICATION": APPLICATION,
            race_app.EVENTS: str(self._events),
            **(environ or {}),
        }
        self._process = self._start()
        try:
            wait_until(lambda: len(self.workers()) == workers, f"{workers} workers", 30)
        except BaseException:
            print(self.log())
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """The process id of gunicorn itself, the parent of the workers."""
        return self._process.pid

    @property
    def store(self) -> str:
        """The scheme of the store's URL."""
        return self.url.partition(":")[0]

    @property
    def sessions(self) -> Path:
        """The folder of a file store."""
        assert self.store == "file"
        return Path(self.url.removeprefix("file://"))

    def browser(self) -> HttpBrowser:
        """A browser without cookies."""
        return HttpBrowser(self.port)

    def log(self) -> str:
        """What gunicorn and the application logged so far."""
        return self._log.read_text(errors="replace")

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """The events of all workers, in order; those with this name."""
        events = [json.loads(line) for line in self._events.read_text().splitlines()]
        return [event for event in events if name in (None, event["name"])]

    def workers(self) -> list[int]:
        """The process ids of the workers that are ready and alive."""
        ready = re.findall(r"worker ready: (\d+)", self.log())
        return [int(pid) for pid in ready if self._is_worker(int(pid))]

    @contextmanager
    def only(self, worker: int) -> Iterator[None]:
        """This worker answers while in the context: the others stand still.

        Left to themselves, it may be one of them that answers a whole series of requests.
        """
        with standing_still(pid for pid in self.workers() if pid != worker):
            yield

    def wait_for_workers(self) -> None:
        """Until as many are ready as there should be."""
        wait_until(lambda: len(self.workers()) == self._workers, "all workers to be back", 30)

    def gate(self) -> Gate:
        """A gate for requests of this server."""
        return Gate(tempfile.mkdtemp(dir=self.folder))

    def begin(self, browser: HttpBrowser, path: str, **query: str | int) -> SlowRequest:
        """Send a request that stays under way, from its first access until it is let go."""
        return SlowRequest(self.gate(), browser.twin(), path, query)

    def forget_events(self) -> None:
        """Begin a new file of events."""
        os.truncate(self._events, 0)

    def stop(self) -> None:
        """End it, at last by force, and remove its files. Idempotent."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)  # its own group, workers included
                self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _start(self) -> subprocess.Popen[bytes]:
        with socket.socket() as listener, self._log.open("wb") as log:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", 0))
            listener.listen(128)
            self.port = int(listener.getsockname()[1])
            return subprocess.Popen(
                [sys.executable, "-m", "gunicorn", *self._arguments(listener.fileno())],
                cwd=self.folder,  # not the project's: python -m looks for modules there first
                env={k: v for k, v in {**os.environ, **self._environ}.items() if v is not None},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[listener.fileno()],
                start_new_session=True,
            )

    def _arguments(self, fd: int) -> list[str]:
        options = {
            "config": str(_TESTS / "gunicorn_conf.py"),
            "bind": f"fd://{fd}",
            "workers": str(self._workers),
            "worker-class": self.worker_class,
            "threads": "4" if self.worker_class == "gthread" else "1",
            "pythonpath": str(_TESTS),
            "graceful-timeout": "3",
            "keep-alive": "0",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        return [*words, *self._options, self._app]

    def _is_worker(self, pid: int) -> bool:
        """Whether the process is alive, and a child of this gunicorn (numbers are used again)."""
        try:
            status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return False
        state, parent = status[0], int(status[1])
        return state != "Z" and parent == self._process.pid


class Gate:
    """A folder at which requests wait for each other, or for the test."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def query(self, number: int) -> dict[str, str | int]:
        """The parameters of a request that is to wait here until `number` have arrived."""
        return {"gate": self._folder, "number": number}

    def wait_for(self, number: int) -> None:
        """Until so many have arrived."""
        wait_until(lambda: len(os.listdir(self._folder)) >= number, f"{number} at the gate", 20)

    def arrive(self) -> None:
        """Be one of those who arrive."""
        race_app.arrive(self._folder)


class SlowRequest:
    """A request that has reached the application and waits there."""

    def __init__(
        self, gate: Gate, browser: HttpBrowser, path: str, query: Mapping[str, str | int]
    ) -> None:
        self._gate = gate
        self._pool = ThreadPoolExecutor(1)
        self._reply = self._pool.submit(browser.get, path, **query, **gate.query(2))
        gate.wait_for(1)

    def finish(self) -> Reply:
        """Let it go on; its response."""
        self._gate.arrive()
        with self._pool:
            return self._reply.result()


class Reply(NamedTuple):
    """A response."""

    status: int
    headers: HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        """The decoded body of a success."""
        assert self.status == 200, (self.status, self.body)
        return json.loads(self.body)

    @property
    def set_cookies(self) -> list[str]:
        return self.headers.get_all("Set-Cookie") or []


@contextmanager
def standing_still(pids: Iterable[int]) -> Iterator[None]:
    """These processes do nothing while in the context (SIGSTOP)."""
    stopped = []
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)
        yield
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


class HttpBrowser:
    """Keeps the session cookie, and opens a connection for each request.

    Not for several threads at once: give each a `twin`.
    """

    def __init__(
        self, port: int, cookie: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        self._port = port
        self.cookie = cookie
        self.headers = dict(headers or {})  # what every request has

    def twin(self) -> HttpBrowser:
        """Another browser with the same cookie."""
        return HttpBrowser(self._port, self.cookie, self.headers)

    def move_to(self, server: GunicornServer) -> None:
        """Ask another server from now on, with the same cookie."""
        self._port = server.port

    @property
    def key(self) -> str:
        """The store key of the session."""
        assert self.cookie is not None
        return store_key(self.cookie.partition(".")[0])

    def get(self, path: str, **query: str | int) -> Reply:
        """One request. Raises OSError or HTTPException if the server dies meanwhile."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            cookie = {} if self.cookie is None else {"Cookie": f"{COOKIE}={self.cookie}"}
            headers = {**self.headers, **cookie}
            connection.request("GET", f"{path}?{urlencode(query)}", headers=headers)
            response = connection.getresponse()
            reply = Reply(response.status, response.headers, response.read())
        finally:
            connection.close()
        self._keep(reply.set_cookies)
        return reply

    def values(self) -> dict[str, Any]:
        """What the session holds, which has to be there."""
        found = self.get("/read").json
        assert not found["new"], "the session is gone"
        values: dict[str, Any] = found["values"]
        return values

    def is_anonymous(self) -> bool:
        """Whether the server knows no session of this browser."""
        found = self.get("/read").json
        return bool(found["new"]) and not found["values"] and found["principal"] is None

    def _keep(self, set_cookies: list[str]) -> None:
        for line in set_cookies:
            name, _, rest = line.partition("=")
            value, _, attributes = rest.partition(";")
            if name == COOKIE:
                self.cookie = None if "max-age=0" in attributes.lower() else value


def assert_unavailable(reply: Reply) -> None:
    """Refused for now: with no cookie, and nothing that a cache would keep."""
    assert reply.status == 503, reply
    assert reply.headers["Retry-After"] == "1"
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.set_cookies == []


def record_file(server: GunicornServer, browser: HttpBrowser) -> str:
    """The path of a browser's session in a file store."""
    return str(server.sessions / "sessions" / browser.key[:2] / browser.key)


def at_once(*calls: Callable[[], Reply]) -> list[Reply]:
    """Make several requests at the same time; their replies in order."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], Reply]) -> Reply:
        barrier.wait(30)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def most_at_once(spans: Sequence[tuple[float, float]]) -> int:
    """How many of these spans of time overlapped at the busiest moment."""
    moments = sorted([(end, -1) for _, end in spans] + [(begin, 1) for begin, _ in spans])
    busiest = running = 0
    for _, step in moments:
        running += step
        busiest = max(busiest, running)
    return busiest
