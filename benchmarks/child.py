"""One contestant in a process of its own, which makes requests to itself when told to.

So each has its own interpreter, settings and heap, and can be traced; the parent takes turns.
"""

from __future__ import annotations

import gc
import io
import json
import os
import select
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from contestants import BY_NAME, App, Site
from places import Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rounds import Timer


class Answer(NamedTuple):
    """What a visitor got: status 0 and the exception in `body` if the application raised."""

    status: int
    body: str
    set_cookie: bool
    seconds: float


class Child:
    """A contestant's process. A context manager."""

    def __init__(self, name: str, place: Place) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, __file__, name],
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

    def timer(self, path: str) -> Timer:
        """A timer of requests that the visitors make in turn."""
        return lambda count: float(self._ask("time", path, count))

    def latencies(self, path: str, count: int, *, pause: float = 0.0) -> list[float]:
        """The seconds that each of so many requests took, by visitors chosen at random."""
        found: list[float] = self._ask("latencies", path, count, pause)
        return found

    def request(self, path: str, visitor: int = 0, **query: str | int) -> Answer:
        """One request."""
        return Answer(*self._ask("request", path, visitor, _query(query)))

    def contend(self, writers: int, seconds: float) -> dict[str, Any]:
        """See `contention.contend`."""
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
        self.finish()  # it has built its application
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


class Visitors:
    """Users of one site, each with a session, who take turns.

    A floor has no site to visit: its calls are made directly.
    """

    def __init__(self, site: Site) -> None:
        self.app, self._calls = site.app, site.calls
        self.cookies: list[str | None] = []
        self._turn = 0

    def log_in(self, count: int, query: str) -> None:
        """See `Child`."""
        for _ in range(count):
            answer, cookie = serve(self.app, environ("/new", None, query))
            if answer.status != 200 or cookie is None:
                raise RuntimeError(f"no session was begun: {answer}")
            self.cookies.append(cookie)

    def timer(self, path: str) -> Timer:
        """A timer of requests in this process."""
        return lambda count: self.time(path, count)

    def time(self, path: str, count: int) -> float:
        """See `Child.timer`."""
        app, direct, turn = self.app, self._calls.get(path), self._turn
        cookies = self.cookies or [None]
        number = len(cookies)
        gc.collect()
        start = time.perf_counter()
        if direct is not None:
            for _ in range(count):
                direct()
        else:
            for _ in range(count):
                turn += 1
                body = app(environ(path, cookies[turn % number]), _start_response)
                for _ in body:
                    pass
                close = getattr(body, "close", None)
                if close is not None:
                    close()
        self._turn = turn
        return time.perf_counter() - start

    def latencies(self, path: str, count: int, pause: float) -> list[float]:
        """See `Child`."""
        import random

        chosen = random.Random(7).choices(self.cookies, k=count)
        gc.collect()
        found = []
        for cookie in chosen:
            time.sleep(pause) if pause else None
            answer, _ = serve(self.app, environ(path, cookie))
            if answer.body != "ok":
                raise RuntimeError(f"{path} answered {answer}")
            found.append(answer.seconds)
        return found

    def request(self, path: str, visitor: int, query: str) -> Sequence[Any]:
        """See `Child`. The cookie that it brings is kept."""
        answer, cookie = serve(self.app, environ(path, self.cookies[visitor], query))
        if cookie is not None:
            self.cookies[visitor] = cookie
        return answer

    def contend(self, writers: int, seconds: float) -> dict[str, Any]:
        """See `Child`."""
        import contention

        return contention.contend(self, writers, seconds)


def serve(app: App, request: dict[str, Any]) -> tuple[Answer, str | None]:
    """The answer to a request, and the cookie that came with it."""
    seen: list[Any] = ["000", []]

    def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> Any:
        seen[:] = [status, headers]

    start = time.perf_counter()
    try:
        result = app(request, start_response)
        try:
            body = b"".join(result).decode(errors="replace")
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()
        status = int(seen[0][:3])
    except Exception as error:  # noqa: BLE001 - whatever a contestant raises is a result here
        status, body = 0, f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - start
    cookies = [value.partition(";")[0] for name, value in seen[1] if name.lower() == "set-cookie"]
    return Answer(status, body, bool(cookies), seconds), "; ".join(cookies) or None


def environ(path: str, cookie: str | None = None, query: str = "") -> dict[str, Any]:
    """A small request."""
    values: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "localhost",
        "wsgi.url_scheme": "http",
        "wsgi.input": _NO_BODY,
        "wsgi.errors": sys.stderr,
    }
    if cookie is not None:
        values["HTTP_COOKIE"] = cookie
    return values


_NO_BODY = io.BytesIO()


def _start_response(*_: Any) -> Any:
    return None


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
            reply("done", getattr(visitors, command)(*arguments))
    except Exception as error:
        reply("error", f"{type(error).__name__}: {error}")
        raise


if __name__ == "__main__":
    main()
