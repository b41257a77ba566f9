"""Listening sockets for this package's own servers: the demonstration and the console."""

from __future__ import annotations

import errno
import socket
from typing import NamedTuple

from wsgi_sessions import texts
from wsgi_sessions.errors import ConfigurationError, SessionError

_PORTS_TRIED = 20
_BACKLOG = 128


class CannotListen(SessionError):
    """The address is in use, or does not belong to this machine."""


@texts.shows("host", "port")
class Address(NamedTuple):
    """The address to listen on. Port 0 means any free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse ``127.0.0.1:8000`` or ``[::1]:8000``. Raises ConfigurationError."""
        host, _, port = text.rpartition(":")
        if not host or not port.isascii() or not port.isdecimal() or int(port) > 65535:
            raise ConfigurationError(
                f"{text!r} is not an address to listen on: write 127.0.0.1:8000"
            )
        return cls(host.removeprefix("[").removesuffix("]"), int(port))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def listen_near(address: Address) -> socket.socket:
    """Return a listening socket on the first free port from this one on."""
    for port in range(address.port, address.port + _PORTS_TRIED):
        try:
            return listen(address._replace(port=port))
        except CannotListen:
            continue
    last = address.port + _PORTS_TRIED - 1
    raise CannotListen(f"no port from {address.port} to {last} is free: give one with --bind")


def listen(address: Address) -> socket.socket:
    """Return a listening socket. Raises CannotListen."""
    try:
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return socket.create_server(found[0][4][:2], family=found[0][0], backlog=_BACKLOG)
    except OSError as error:
        why = "is in use" if error.errno == errno.EADDRINUSE else f"fails: {error.strerror}"
        raise CannotListen(f"the address {address} {why}; choose another with --bind") from error
