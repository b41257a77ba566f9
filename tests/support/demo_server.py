"""The demonstration as a user starts it, and visitors that keep its cookies."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from redis_servers import wait_until

from wsgi_sessions.demo.race import STEPS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self

COOKIE = "demo_session"
_COMMAND = ("-m", "wsgi_sessions", "demo", "--bind", "127.0.0.1:0")


class DemoServer:
    """``wsgi-sessions demo`` on a free port, with its temporary files in `folder`.

    `python` is the interpreter that has the package: by default the one of the tests.
    """

    def __init__(self, folder: Path, *options: str, python: Path | None = None) -> None:
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self._output = folder / "output"
        # Settings of the environment are not the demonstration's.
        environ = {"WSGI_SESSIONS_URL": "nonsense", "WSGI_SESSIONS_COOKIE_SECURE": "always"}
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [python or sys.executable, *_COMMAND, *options],
                cwd=folder,
                env={**os.environ, **environ, "TMPDIR": str(self.temporary)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            wait_until(lambda: self._address() is not None, "a line with the address", 30)
        except BaseException:
            print(self.output())
            self.stop()
            raise

    @property
    def port(self) -> int:
        address = self._address()
        assert address is not None
        return int(address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def output(self) -> str:
        """All that it has printed."""
        return self._output.read_text(errors="replace")

    def visitor(self) -> DemoVisitor:
        """Somebody without cookies."""
        return DemoVisitor(self.port)

    def workers(self) -> list[int]:
        """The ids of its child processes."""
        return [int(pid) for pid in filter(str.isdigit, os.listdir("/proc")) if self._is_child(pid)]

    def wait_for_workers(self, number: int = 3) -> None:
        """Until there are so many: the address is told before the last one is forked."""
        wait_until(lambda: len(self.workers()) == number, "all workers", 20)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal to the main process; its exit code. Idempotent."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            return self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)  # its own group, workers included
            self._process.wait()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _address(self) -> re.Match[str] | None:
        assert self._process.poll() is None, self.output()
        return re.search(r"http://127\.0\.0\.1:(\d+)/", self.output())

    def _is_child(self, pid: str) -> bool:
        try:
            status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return False
        return status[0] != "Z" and int(status[1]) == self._process.pid


class DemoReply(NamedTuple):
    """A response."""

    status: int
    headers: HTTPMessage
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class DemoVisitor:
    """Keeps cookies, and opens a connection for each request. Not for several threads at once."""

    def __init__(self, port: int, cookies: dict[str, str] | None = None) -> None:
        self._port = port
        self.cookies = dict(cookies or {})

    def twin(self) -> DemoVisitor:
        """Another one with the same cookies."""
        return DemoVisitor(self._port, self.cookies)

    def get(self, path: str = "/", **headers: str) -> DemoReply:
        """GET, without following redirects."""
        return self._send("GET", path, None, headers)

    def post(self, path: str, **form: str) -> DemoReply:
        """POST a form, without following redirects."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._send("POST", path, urlencode(form), headers)

    @contextmanager
    def stream(self, path: str) -> Iterator[HTTPResponse]:
        """GET, with the body still to be read; at the end of the block the visitor is gone."""
        connection = self._connect()
        try:
            connection.request("GET", path, headers=self._cookie_header())
            with connection.getresponse() as response:
                yield response
        finally:
            connection.close()

    def _send(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> DemoReply:
        connection = self._connect()
        try:
            connection.request(method, path, body, {**headers, **self._cookie_header()})
            response = connection.getresponse()
            reply = DemoReply(response.status, response.headers, response.read().decode())
        finally:
            connection.close()
        for line in reply.headers.get_all("Set-Cookie") or []:
            self._keep(line)
        return reply

    def _connect(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self._port, timeout=30)

    def _cookie_header(self) -> dict[str, str]:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {"Cookie": cookies} if cookies else {}

    def _keep(self, set_cookie: str) -> None:
        pair, _, attributes = set_cookie.partition(";")
        name, _, value = pair.partition("=")
        if "max-age=0" in attributes.lower():
            self.cookies.pop(name, None)
        else:
            self.cookies[name] = value


def race(visitor: DemoVisitor, lane: str) -> set[int]:
    """All requests of one lane at once; the workers that answered."""
    barrier = threading.Barrier(STEPS)

    def step(number: int) -> int:
        twin = visitor.twin()
        barrier.wait(30)
        reply = twin.post(f"/race/{lane}/{number}")
        assert reply.status == 200, reply
        worker: int = reply.json["worker"]
        return worker

    with ThreadPoolExecutor(STEPS) as pool:
        return set(pool.map(step, range(1, STEPS + 1)))
