"""A WSGI application of named handlers, whose store calls are counted."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from wsgi_client import Browser

from wsgi_sessions import Config, build, get_session
from wsgi_sessions.operations.inspection import live_sessions

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.core.events import Event
    from wsgi_sessions.stack.build import Stack

    Handler = Callable[[Any, Any], Any]


SECRET = "s" * 40


TEXT = [("Content-Type", "text/plain")]


class Watched:
    """An application of named handlers, its stack on a memory store, calls counted."""

    def __init__(self, **settings: Any) -> None:
        self.events: list[Event] = []
        self.hook: Callable[[Event], object] = self.events.append
        self.handlers: dict[str, Handler] = {}
        config = Config(
            **{"url": "memory://", "secret_keys": (SECRET,), "sweep_interval": None, **settings}
        )
        self.stack: Stack = build(self._app, config, on_event=lambda event: self.hook(event))
        self.calls: Counter[str] = Counter()
        self.fault: Exception | None = None
        self._spy()

    def _app(self, environ: Any, start_response: Any) -> Any:
        return self.handlers[environ["PATH_INFO"]](environ, start_response)

    def _spy(self) -> None:
        store: Any = self.stack.manager.backend.sessions
        for name in ("create", "load", "save", "touch", "delete"):
            setattr(store, name, self._counted(name, getattr(store, name)))

    def _counted(self, name: str, operation: Any) -> Any:
        def counted(*args: Any, **more: Any) -> Any:
            self.calls[name] += 1
            if self.fault is not None:
                raise self.fault
            return operation(*args, **more)

        return counted

    def on(self, path: str) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            self.handlers[path] = handler
            return handler

        return register

    def page(self, path: str, action: Callable[[Any], object], status: str = "200 OK") -> None:
        """A page that does something to the session and shows what came of it."""

        def handler(environ: Any, start_response: Any) -> list[bytes]:
            result = action(get_session(environ))
            start_response(status, [*TEXT])
            return [repr(result).encode()]

        self.handlers[path] = handler

    def rewrite(self, key: str, **changes: Any) -> None:
        """Change a record behind the back of its session."""
        store = self.stack.manager.backend.sessions
        record = store.load(key)
        assert record is not None
        new = {"payload": record.payload, "expires_at": record.expires_at, **changes}
        store.save(key, **new, expected_version=record.version)

    def records(self) -> list[str]:
        return [found.key for found in live_sessions(self.stack.manager.backend)]

    def names(self) -> list[str]:
        return [event.name for event in self.events]

    def browser(self) -> Browser:
        return Browser(self.stack)


def with_pages(web: Watched) -> None:
    web.page("/null", lambda session: None)
    web.on("/untouched")(lambda _, start: (start("200 OK", [*TEXT]) and None) or [b""])
    web.page("/read", lambda session: session.get("n"))
    web.page("/write", lambda session: session.__setitem__("n", session.get("n", 0) + 1))
    web.page("/login", lambda session: session.login("alice"))
    web.page("/logout", lambda session: session.flush())
    web.page("/show", dict)
