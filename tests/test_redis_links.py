"""One connection to Redis: slow and talkative peers, which are threads of the test."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from listeners import Listener

from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.stores.redis.backend import open_executor

if TYPE_CHECKING:
    import socket

PART = 0.05  # seconds between the parts of a reply
TIMEOUT = 0.5


class Peer(Listener):
    """Answers every command with the next of `replies`, each a list of parts, as slowly as said.

    The last one is for all that follow.
    """

    def __init__(self, *replies: list[bytes], pause: float = 0.0) -> None:
        self._replies = list(replies)
        self._pause = pause
        self.connections = 0
        self.sent = threading.Event()
        super().__init__()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def serve(self, client: socket.socket) -> None:
        self.connections += 1
        while client.recv(65536):
            parts = self._replies[0] if len(self._replies) == 1 else self._replies.pop(0)
            for part in parts:
                client.sendall(part)
                time.sleep(self._pause)
            self.sent.set()


def test_a_peer_that_does_not_answer_the_greeting_is_a_fault() -> None:
    with (
        Peer([]) as peer,
        closing(open_executor(f"{peer.url}/3", 0.2)) as executor,
        pytest.raises(StoreUnavailable, match="within the deadline"),
    ):
        executor.execute("load", None, "GET", "k")


def drip(reply: bytes) -> list[bytes]:
    return [reply[i : i + 1] for i in range(len(reply))]


@pytest.mark.parametrize("url", ["{url}/0", "{url}/3"])
def test_a_reply_in_drips_takes_no_longer_than_the_deadline(url: str) -> None:
    """The one to a command, and the one to the greeting that chooses the database."""
    whole = drip(b"$200\r\n" + b"x" * 200 + b"\r\n")
    with (
        Peer(whole, pause=PART) as peer,
        closing(open_executor(url.format(url=peer.url), TIMEOUT)) as executor,
    ):
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable, match="within the deadline"):
            executor.execute("load", None, "GET", "k")
        assert time.monotonic() - begun < 2 * TIMEOUT  # and not the 10 s that all of it takes


def test_a_long_reply_in_few_parts_is_read() -> None:
    text = b"x" * 100_000
    parts = [b"$100000\r\n", text[:50_000], text[50_000:], b"\r\n"]
    with Peer(parts) as peer, closing(open_executor(f"{peer.url}/0", 5.0)) as executor:
        for _ in range(2):
            assert executor.execute("load", None, "GET", "k") == text
        assert peer.connections == 1


def test_one_reply_too_many_is_nobodys() -> None:
    two = [b"+first\r\n+second\r\n"]
    with (
        Peer(two, [b"+right\r\n"]) as peer,
        closing(open_executor(f"{peer.url}/0", 5.0)) as executor,
    ):
        with pytest.raises(StoreUnavailable, match="Redis protocol"):
            executor.execute("load", None, "GET", "a")
        assert executor.execute("load", None, "GET", "b") == b"right"
        assert peer.connections == 2


def test_what_comes_between_two_commands_is_nobodys_reply() -> None:
    late = [b"+first\r\n", b"+second\r\n"]
    with (
        Peer(late, [b"+right\r\n"], pause=PART) as peer,
        closing(open_executor(f"{peer.url}/0", 5.0)) as executor,
    ):
        assert executor.execute("load", None, "GET", "a") == b"first"
        assert peer.sent.wait(5)
        assert executor.execute("load", None, "GET", "b") == b"right"
        assert peer.connections == 2
