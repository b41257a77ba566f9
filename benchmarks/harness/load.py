"""A client that puts a bounded load on a server of this machine, and times each request.

So many requests are under way at any time, each on a connection of its own (the workers keep none
alive, as behind a proxy that does so); a new one begins when one ends. The client runs on the
machine that it asks, on a processor of its own if there are two.
"""

from __future__ import annotations

import select
import socket
import time
from itertools import cycle
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PATIENCE = 20.0


class Load(NamedTuple):
    """What a load brought: seconds per request, in the order in which they ended."""

    seconds: float
    latencies: list[float]
    failures: int  # not 200, or not the body that was expected

    @property
    def per_second(self) -> float:
        """Requests per second."""
        return len(self.latencies) / self.seconds


class Request:
    """One request under way."""

    def __init__(self, port: int, data: bytes) -> None:
        self.began = time.perf_counter()
        self.reply = b""
        self.socket = socket.socket()
        self.socket.settimeout(PATIENCE)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(data)

    def receive(self) -> bool:
        """Take what has come; whether that was the end."""
        try:
            more = self.socket.recv(65536)
        except ConnectionError:
            more = b""
        self.reply += more
        if more:
            return False
        self.socket.close()
        return True


def request_bytes(path: str, cookie: str | None = None) -> bytes:
    """A GET request."""
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close"]
    if cookie is not None:
        lines.append(f"Cookie: {cookie}")
    return "\r\n".join([*lines, "", ""]).encode()


def put_load(
    port: int, requests: Sequence[bytes], *, seconds: float, at_once: int, expected: bytes = b"ok"
) -> Load:
    """Make these requests over and over for some seconds."""
    turns, latencies, failures = cycle(requests), [], 0
    began = time.perf_counter()
    for reply, latency in _replies(port, turns, until=began + seconds, at_once=at_once):
        latencies.append(latency)
        failures += not (
            reply.startswith(b"HTTP/1.1 200") and reply.endswith(b"\r\n\r\n" + expected)
        )
    return Load(time.perf_counter() - began, latencies, failures)


def ask_all(port: int, requests: Sequence[bytes], *, at_once: int) -> list[bytes]:
    """Make each request once; the replies, in the order in which they ended."""
    return [reply for reply, _ in _replies(port, iter(requests), until=None, at_once=at_once)]


def _replies(
    port: int, requests: Iterator[bytes], *, until: float | None, at_once: int
) -> Iterator[tuple[bytes, float]]:
    poll = select.epoll()
    under_way: dict[int, Request] = {}

    def begin() -> None:
        if until is not None and time.perf_counter() > until:
            return
        data = next(requests, None)
        if data is not None:
            request = Request(port, data)
            under_way[request.socket.fileno()] = request
            poll.register(request.socket, select.EPOLLIN)

    with poll:
        for _ in range(at_once):
            begin()
        while under_way:
            ready = poll.poll(PATIENCE)
            if not ready:
                raise TimeoutError(f"no reply within {PATIENCE:.0f} s")
            for fd, _ in ready:
                request = under_way[fd]
                if request.receive():
                    del under_way[fd]
                    yield request.reply, time.perf_counter() - request.began
                    begin()


def one(port: int, path: str, cookie: str | None = None) -> bytes:
    """The reply to one request."""
    return ask_all(port, [request_bytes(path, cookie)], at_once=1)[0]


def body_of(reply: bytes) -> bytes:
    """The body of a 200. Raises ValueError for any other."""
    head, _, body = reply.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise ValueError(f"answered {reply[:200]!r}")
    return body


def cookie_of(reply: bytes) -> str | None:
    """The cookies that a reply sets, as a request sends them."""
    head = reply.partition(b"\r\n\r\n")[0].decode("latin-1")
    found = [
        value.strip().partition(";")[0]
        for name, _, value in (line.partition(":") for line in head.split("\r\n"))
        if name.lower() == "set-cookie"
    ]
    return "; ".join(found) or None
