"""What a browser does to its session in the tests of faults and crashes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gunicorn_server import Browser, Reply

STARTED = {"log": [], "n": 0, "total": 0, "name": "visitor"}


@dataclass(frozen=True)
class Operation:
    """A request, and what it leaves in the session; None: no session."""

    name: str
    path: str
    query: dict[str, str | int] = field(default_factory=dict)
    changes: dict[str, Any] | None = field(default_factory=dict)

    def request(self, browser: Browser) -> Reply:
        return browser.get(self.path, **self.query)


READ = Operation("read", "/read")
WRITE = Operation(
    "write",
    "/change",
    {"item": 7},
    {"log": [7], "entries": [7], "count": 1, "key 7": 7},
)
LARGE: dict[str, str | int] = {
    "key": "text",
    "value": "x",
    "times": 9000,
}  # more than a new session's file takes
GROW = Operation("grow", "/assign", LARGE, {"text": "x" * 9000})
LOGIN = Operation("login", "/login", {"user": "alice"}, {"name": "alice"})
LOGOUT = Operation("logout", "/logout", {}, None)
START = Operation("start", "/start", {"name": "visitor"}, STARTED)
