"""What a browser does to its session in the tests of faults and crashes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gunicorn_server import HttpBrowser, Reply

STARTED = {"log": [], "n": 0, "total": 0, "name": "visitor"}


@dataclass(frozen=True)
class PageOperation:
    """A request, and what it leaves in the session; None: no session."""

    name: str
    path: str
    query: dict[str, str | int] = field(default_factory=dict)
    changes: dict[str, Any] | None = field(default_factory=dict)

    def request(self, browser: HttpBrowser) -> Reply:
        return browser.get(self.path, **self.query)


READ = PageOperation("read", "/read")
WRITE = PageOperation(
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
GROW = PageOperation("grow", "/assign", LARGE, {"text": "x" * 9000})
LOGIN = PageOperation("login", "/login", {"user": "alice"}, {"name": "alice"})
LOGOUT = PageOperation("logout", "/logout", {}, None)
START = PageOperation("start", "/start", {"name": "visitor"}, STARTED)
