"""SessionBrowser: what a `SessionClient` asks of the test client inside of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from wsgi_sessions import texts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from wsgi_sessions.core.manager import SessionManager


@texts.shows()
class PreparedRequest(NamedTuple):
    """A request of a browser, in two steps.

    `send` calls the application, in any thread, and returns its answer; `receive` hands that to the
    browser and returns the response as its users know it.
    """

    send: Callable[[], Any]
    receive: Callable[[Any], Any]


class SessionBrowser(Protocol):
    """A test client of some framework, with its cookies.

    A request is a path, or the arguments of the client's own method as a dictionary, of which
    ``path`` and ``method`` are common to all.
    """

    @property
    def client(self) -> Any:
        """The framework's own test client."""

    @property
    def manager(self) -> SessionManager:
        """The `SessionManager` of the application that the client calls."""

    def session(self, path: str | None, more: Mapping[str, Any]) -> AbstractContextManager[Any]:
        """See `SessionClient.session`."""

    def login(self, principal: Any, data: Mapping[str, Any]) -> None:
        """See `SessionClient.login`."""

    def prepare(self, request: Any) -> PreparedRequest:
        """Return a request with the present cookies, which is not sent yet."""
