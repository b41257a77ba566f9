"""The users of a contestant, and their requests, all within one process."""

from __future__ import annotations

import gc
import io
import random
import sys
import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.contestants.table import App, Site
    from benchmarks.harness.rounds import Timer


Clock = Literal["wall", "processor"]


class Answer(NamedTuple):
    """What a visitor got: status 0 and the exception in `body` if the application raised."""

    status: int
    body: str
    set_cookie: bool
    seconds: float


class Visitors:
    """Users of one site, each with a session, who take turns.

    A floor has no site to visit: its calls are made directly.
    """

    def __init__(self, site: Site) -> None:
        self.app, self._calls = site.app, site.calls
        self.cookies: list[str | None] = []
        self._turn = 0

    def log_in(self, count: int, query: str) -> None:
        """See `child.Child`."""
        for _ in range(count):
            answer, cookie = serve(self.app, environ("/new", None, query))
            if answer.status != 200 or cookie is None:
                raise RuntimeError(f"no session was begun: {answer}")
            self.cookies.append(cookie)

    def timer(self, path: str) -> Timer:
        """A timer of requests in this process."""
        return lambda count: self.time(path, count)

    def time(self, path: str, count: int, clock: Clock = "wall") -> float:
        """See `child.Child.timer`."""
        now = time.perf_counter if clock == "wall" else time.process_time
        app, direct, turn = self.app, self._calls.get(path), self._turn
        cookies = self.cookies or [None]
        number = len(cookies)
        gc.collect()
        start = now()
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
        return now() - start

    def latencies(self, path: str, count: int, pause: float) -> list[float]:
        """See `child.Child`."""
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
        """See `child.Child`. The cookie that it brings is kept."""
        answer, cookie = serve(self.app, environ(path, self.cookies[visitor], query))
        if cookie is not None:
            self.cookies[visitor] = cookie
        return answer


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
