"""A create that is held up on the way and arrives after the log-out brings no session back."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import pytest
from overlapping import Sessions

from wsgi_sessions.errors import StoreUnavailable, WriteInDoubt
from wsgi_sessions.identity import store_key
from wsgi_sessions.stores.redis.backend import open_redis
from wsgi_sessions.stores.urls import open_backend

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

KEY = "a" * 64


class Held:
    """A store on the way to which the first creates are held up, as many as said."""

    def __init__(self, sessions: Any, count: int = 1) -> None:
        self._sessions = sessions
        self._count = count
        self.held: list[Callable[[], None]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sessions, name)

    def create(self, key: str, payload: bytes, expires_at: float) -> None:
        if len(self.held) == self._count:
            self._sessions.create(key, payload, expires_at)
            return
        self.held.append(lambda: self._sessions.create(key, payload, expires_at))
        error = WriteInDoubt("no answer")
        error.may_try_another = True
        raise error


def test_data_that_comes_late_after_a_log_out_belongs_to_no_user() -> None:
    with closing(open_backend("memory://")) as backend:
        store = Held(backend.sessions)
        object.__setattr__(backend, "sessions", store)
        sessions = Sessions(backend)
        session_id = sessions.new(user="alice")
        assert sessions.do(session_id, lambda session: session.flush()) == "destroyed"
        (late,) = store.held
        late()
        assert sessions.begin(session_id).session.get("user") is None
        assert store_key(session_id) not in set(backend.iteration.keys())


def test_it_is_tried_once_more_and_no_further() -> None:
    with closing(open_backend("memory://")) as backend:
        store = Held(backend.sessions, count=3)
        object.__setattr__(backend, "sessions", store)
        with pytest.raises(StoreUnavailable):
            Sessions(backend).new(user="alice")
        assert len(store.held) == 2


class Silent:
    """A server that hears everything and answers nothing."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client:
            while data := client.recv(65536):
                self.heard.append(data)


def test_redis_is_sent_a_create_once_and_other_commands_twice() -> None:
    with Silent() as server, closing(open_redis(server.url, timeout=0.5)) as backend:
        with pytest.raises(WriteInDoubt) as caught:
            backend.sessions.create(KEY, b"x", time.time() + 60)
        assert caught.value.may_try_another
        assert len(server.heard) == 1
        with pytest.raises(StoreUnavailable):
            backend.sessions.load(KEY)
        assert len(server.heard) == 3
