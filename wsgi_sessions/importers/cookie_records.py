"""Foreign sessions in the users' cookies: each name is its own record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class CookieRecords:
    """`ForeignRecords` of the cookies of `library`; `payload` returns the content of a name."""

    def __init__(self, library: str, payload: Callable[[str], bytes]) -> None:
        self._library = library
        self._payload = payload

    def load(self, name: str) -> bytes | None:
        return self._payload(name)

    def delete(self, name: str) -> None:
        """Do nothing: the receipt records the import."""

    def names(self) -> Iterator[str]:
        raise ConfigurationError(
            f"{self._library}'s own sessions are in the users' cookies: there is nothing to import "
            "in advance"
        )

    def expires_at(self, name: str) -> float | None:  # noqa: ARG002  # none is stored
        return None

    def close(self) -> None:
        """Do nothing: nothing is open."""
