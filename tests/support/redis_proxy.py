"""A proxy in front of Redis that cuts replies."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

    from redis_servers import RedisServer


class CuttingProxy:
    """A TCP proxy on loopback that can cut replies. Commands always arrive.

    With `tls`, that is what it speaks to its clients.
    """

    def __init__(self, target: RedisServer, tls: ssl.SSLContext | None = None) -> None:
        self._target = (target.host, target.port)
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._allow = 0
        self._cuts = 0
        self.connections = 0
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        scheme = "rediss" if self._tls else "redis"
        return f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}/0"

    def cut(self, *, allow: int = 0, replies: int = 1) -> None:
        """Of each of the next `replies`, pass on `allow` bytes, then hang up."""
        self._allow, self._cuts = allow, replies

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        workers = []
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                worker = threading.Thread(target=self._serve, args=(client,), daemon=True)
                worker.start()
                workers.append(worker)
        for worker in workers:
            worker.join(5)

    def _serve(self, client: socket.socket) -> None:
        if self._tls is not None:
            with client, suppress(OSError):
                client = self._tls.wrap_socket(client, server_side=True)
                self._relay(client)
        else:
            self._relay(client)

    def _relay(self, client: socket.socket) -> None:
        # One command, one reply: the store never has two on the way.
        with client, socket.create_connection(self._target) as upstream:
            while command := client.recv(65536):
                upstream.sendall(command)
                reply = upstream.recv(65536)
                if self._cuts:
                    self._cuts -= 1
                    client.sendall(reply[: self._allow])
                    return
                client.sendall(reply)
