"""An application whose body changes the session."""

from __future__ import annotations

from ast import literal_eval
from typing import TYPE_CHECKING, Any

from wsgi_client import Browser, environ_of

from wsgi_sessions import Config, build, get_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.core.events import Event
    from wsgi_sessions.core.session import Session

    Page = Callable[[Session], Any]


TEXT = [("Content-Type", "text/plain")]


class LateSite:
    """Pages that are given their session; ``fault`` keeps the store from saving."""

    def __init__(self, **settings: Any) -> None:
        self.events: list[Event] = []
        self.fault: Exception | None = None
        self.status = "200 OK"
        self.pages: dict[str, Page] = {"/begin": self._begin, "/read": self._read}
        config = Config(url="memory://", secret_keys=("s" * 40,), sweep_interval=None, **settings)
        self.stack = build(self._app, config, on_event=self.events.append)
        sessions: Any = self.stack.manager.backend.sessions
        self._save, sessions.save = sessions.save, self._saved
        self.browser = Browser(self.stack)
        self.browser.get("/begin")

    def _app(self, environ: Any, start_response: Any) -> Any:
        body = self.pages[environ["PATH_INFO"]](get_session(environ))
        start_response(self.status, [*TEXT])
        return body

    def _begin(self, session: Session) -> list[bytes]:
        session["n"] = 1
        return [b"begun"]

    def _read(self, session: Session) -> list[bytes]:
        return [str(dict(session)).encode()]

    def _saved(self, *args: Any, **more: Any) -> Any:
        if self.fault is not None:
            raise self.fault
        return self._save(*args, **more)

    def seen(self) -> dict[str, Any]:
        """What a request that begins now, with the same cookie, sees."""
        found: dict[str, Any] = literal_eval(self.browser.get("/read").body.decode())
        return found

    def start(self, page: Page) -> Any:
        """The body of a response, for the test to read and to close as a server does."""
        self.pages["/stream"] = page
        cookie = "; ".join(f"{name}={value}" for name, value in self.browser.cookies.items())
        return self.stack(environ_of("/stream", cookie=cookie), lambda *_: print)

    def lost(self) -> list[dict[str, object]]:
        return [dict(event.facts) for event in self.events if event.name == "lost"]
