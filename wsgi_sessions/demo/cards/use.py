"""The card of leases: a long download keeps the background refresher away from a session."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from werkzeug.routing import Rule
from werkzeug.wrappers import Response

from wsgi_sessions.demo.keepalive import INTERVAL
from wsgi_sessions.demo.request import html
from wsgi_sessions.demo.template import clock, template

if TYPE_CHECKING:
    from collections.abc import Iterator

    from markupsafe import Markup

    from wsgi_sessions import Session
    from wsgi_sessions.demo.keepalive import KeepAlive, Skips
    from wsgi_sessions.demo.request import DemoRequest

CHUNKS = 24
CHUNK_SECONDS = 0.5
_CHUNK_BYTES = 32


class UseCard(NamedTuple):
    """Shows requests that use a session, and the effect on the refresher."""

    keep_alive: KeepAlive

    @staticmethod
    def rules() -> list[Rule]:
        """Return the routes of its buttons."""
        return [
            Rule("/use", methods=["GET"], endpoint="cards.use.show"),
            Rule("/download", methods=["GET"], endpoint="cards.use.download"),
        ]

    def show(self, request: DemoRequest) -> Response:
        """Return the state, for a background call once a second."""
        _ = request.user
        return html(self.state(request))

    def download(self, request: DemoRequest) -> Response:
        """Return a long answer. The session is in use from here to its end."""
        _ = request.user
        response = Response(_chunks(), content_type="text/plain; charset=utf-8")
        response.headers["Content-Length"] = str(CHUNKS * _CHUNK_BYTES)
        response.headers["Content-Disposition"] = 'attachment; filename="long.txt"'
        response.headers["Cache-Control"] = "no-store"
        return response

    def render(self, request: DemoRequest) -> Markup:
        """Return the card for a logged-in visitor."""
        return template("use.html").format(
            state=self.state(request), seconds=round(CHUNKS * CHUNK_SECONDS), interval=INTERVAL
        )

    def state(self, request: DemoRequest) -> Markup:
        """Return the users of the session and its last refresh."""
        others = _others(request)
        return template("use_state.html").format(
            others=_counted(others),
            kind="busy" if others else "free",
            refreshed=_refreshed(request.session),
            skipped=_skipped(self.keep_alive.skips(request.short_key)),
        )


def _chunks() -> Iterator[bytes]:
    for number in range(1, CHUNKS + 1):
        time.sleep(CHUNK_SECONDS)
        yield f"Line {number} of {CHUNKS}".ljust(_CHUNK_BYTES - 1).encode() + b"\n"


def _others(request: DemoRequest) -> int:
    """Return the number of other requests that hold the session."""
    leases = request.backend.leases
    assert leases is not None  # otherwise the application would not have been built
    return 0 if request.key is None else max(0, leases.holders(request.key) - 1)


def _counted(others: int) -> str:
    if others == 0:
        return "no other request"
    return "1 other request" if others == 1 else f"{others} other requests"


def _refreshed(session: Session) -> str:
    if session.refreshed_at is None:
        return "not yet"
    number, worker = session.get("refreshes"), session.get("refreshed_by")
    return f"{clock(session.refreshed_at)}, by process {worker}, refresh no. {number}"


def _skipped(skips: Skips | None) -> str:
    if skips is None:
        return "0 times"
    times = "once" if skips.number == 1 else f"{skips.number} times"
    return f"{times} since then, last at {clock(skips.at)}, as it was in use"
