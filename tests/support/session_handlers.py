"""An application on the memory store that runs what a test gives it, with the session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsgi_client import Browser

from wsgi_sessions import Config, build, get_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from wsgi_sessions import Session


class RunsHandlers:
    """One browser, and what it asks the application to do with its session."""

    def __init__(self) -> None:
        config = Config(url="memory://", secret_keys=("a-secret-of-the-tests-with-32-bytes",))
        self.events: list[Any] = []
        self._stack = build(self._app, config, on_event=self.events.append)
        self.browser = Browser(self._stack)

    def ask(self, handler: Callable[[Session], object]) -> Any:
        assert self.browser.get("/", handler=handler).status == 200

    @staticmethod
    def _app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["handler"](get_session(environ))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return []

    def at_once(self, *handlers: Callable[[Session], object]) -> None:
        """Each has read the session before any other's changes are stored."""
        if not handlers:
            return

        def outer(session: Session) -> None:
            len(session)
            self.at_once(*handlers[1:])
            handlers[0](session)

        self.ask(outer)

    def values(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self.ask(found.update)
        return found
