"""Faults of what lies between workers and server: lost replies, late commands."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from listeners import Listener

if TYPE_CHECKING:
    from histories.faults.scene import Scene

_BUSY = 20  # packets among which the concerned one is
_FEW = 5  # commands of one kind among which it is
_LATE = 3.0  # seconds: the worker has given up long before


def lose_replies(scene: Scene) -> None:
    """Cut a few connections just when their server has answered."""
    assert scene.proxy is not None
    for _ in range(scene.rng.randint(1, 4)):
        scene.proxy.lose_reply(scene.rng.randrange(_BUSY))
        scene.linger(0.0, 0.2)


def hold_a_command(scene: Scene) -> None:
    """Let one command reach the server when its worker has given up, and others went on."""
    assert scene.proxy is not None
    assert scene.place.route is not None
    word = scene.rng.choice(scene.place.route.words)
    scene.proxy.hold_command(word, scene.rng.randrange(_FEW), scene.rng.uniform(0.3, _LATE))
    scene.linger(0.5, 1.0)


class Countdown:
    """Chooses one of the things that come by, from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: int | None = None
        self._word = b""

    def choose(self, after: int, word: bytes = b"") -> None:
        """The one that comes after so many in which there is this word."""
        with self._lock:
            self._left, self._word = after, word

    def is_this(self, packet: bytes) -> bool:
        """Whether it is the one that now comes by."""
        with self._lock:
            if self._left is None or self._word not in packet:
                return False
            is_this = self._left == 0
            self._left = None if is_this else self._left - 1
            return is_this


class Proxy(Listener):
    """Hands on bytes between the workers and the server at `address`, as they come."""

    def __init__(self, address: int | str) -> None:
        self._address = address
        self._lost = Countdown()
        self._held = Countdown()
        self._delay = 0.0
        super().__init__()

    def lose_reply(self, after: int) -> None:
        """After so many packets of the server, drop one and close its connection."""
        self._lost.choose(after)

    def hold_command(self, word: bytes, after: int, seconds: float) -> None:
        """After so many packets of the workers with this word, deliver one late, whoever still
        waits for it."""
        self._delay = seconds
        self._held.choose(after, word)

    def serve(self, client: socket.socket) -> None:
        """Hand on in both directions until one side closes."""
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with _connect(self._address) as server:
            back = threading.Thread(target=self._answer, args=(server, client), daemon=True)
            back.start()
            with suppress(OSError):
                while packet := client.recv(65536):
                    if self._held.is_this(packet):
                        time.sleep(self._delay)
                    server.sendall(packet)
            with suppress(OSError):
                server.shutdown(socket.SHUT_WR)  # what was delivered late is still carried out
            back.join()

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while (packet := server.recv(65536)) and not self._lost.is_this(packet):
                with suppress(OSError):  # the worker may be gone; the server is not to learn of it
                    client.sendall(packet)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


def _connect(address: int | str) -> socket.socket:
    if isinstance(address, int):
        return socket.create_connection(("127.0.0.1", address))
    server = socket.socket(socket.AF_UNIX)
    server.connect(address)
    return server
