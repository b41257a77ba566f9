"""The card of version stamps: new data, a stale session, and the page load that refreshes it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup
from werkzeug.routing import Rule

from wsgi_sessions.demo.request import html
from wsgi_sessions.demo.template import STATUS, clock, template
from wsgi_sessions.http.environ import get_transaction
from wsgi_sessions.http.page_load import is_page_load
from wsgi_sessions.versions.policy import STAMPS

if TYPE_CHECKING:
    from werkzeug.wrappers import Response

    from wsgi_sessions.contract import VersionStamps
    from wsgi_sessions.demo.request import DemoRequest
    from wsgi_sessions.demo.teams import Teams

SCOPE = "global"
_FRESH = Markup("<strong>✓ Fresh.</strong> Loaded at the log-in, at {} by process {}.")
_REFRESHED = Markup(
    "<strong>✓ Refreshed</strong> at {} by process {}, in the page load itself. "
    "Same cookie, same session: <code>{}</code>"
)
_STALE = Markup("<strong>✗ Stale.</strong> The next page load refreshes it.")
_LEFT_ALONE = Markup(
    "<strong>✗ Stale.</strong> Process {} answered a background call (<code>fetch</code>) from the "
    "session as it is, and did not refresh it. "
    '<a class="reload" href="/">Load the page</a> to see it refreshed.'
)


class FreshnessCard(NamedTuple):
    """Shows the session beside the database."""

    teams: Teams

    @staticmethod
    def rules() -> list[Rule]:
        """Return the routes of its buttons."""
        return [
            Rule("/data", methods=["POST"], endpoint="cards.freshness.new_data"),
            Rule("/freshness", methods=["GET"], endpoint="cards.freshness.show"),
        ]

    def new_data(self, request: DemoRequest) -> Response:
        """Store new data, then bump the version, as a loader does."""
        _ = request.user
        self.teams.play()
        _versions(request).bump(SCOPE)
        return request.see_page("freshness")

    def show(self, request: DemoRequest) -> Response:
        """Return the state of the session, for a background call."""
        _ = request.user
        return html(self.state(request))

    def render(self, request: DemoRequest) -> Markup:
        """Return the card for a logged-in visitor."""
        return template("freshness.html").format(state=self.state(request))

    def state(self, request: DemoRequest) -> Markup:
        """The session beside the database."""
        session, team = request.session, request.session.get("team")
        version, stamp = _versions(request).current([SCOPE])[SCOPE], _stamp(request)
        return template("freshness_state.html").format(
            team=team or "Your team",
            version=version,
            stamp="none" if stamp is None else stamp,
            points=self.teams.points(team),
            session_points=session.get("points", "no"),
            status=_status(request, is_fresh=team is not None and stamp == version),
        )


def _versions(request: DemoRequest) -> VersionStamps:
    versions = request.backend.versions
    assert versions is not None  # otherwise the application would not have been built
    return versions


def _stamp(request: DemoRequest) -> int | None:
    """Return the version that the session was built from; 0 if it was never bumped."""
    stamps = get_transaction(request.environ).draft().get_metadata(STAMPS)
    return None if stamps is None else stamps.get(SCOPE, 0)


def _status(request: DemoRequest, *, is_fresh: bool) -> Markup:
    session = request.session
    if not is_fresh:
        stale = _STALE if is_page_load(request.environ) else _LEFT_ALONE
        return STATUS.format("bad", stale.format(os.getpid()))
    fresh = _REFRESHED if session["loaded_in"] == "page load" else _FRESH
    return STATUS.format(
        "good", fresh.format(clock(session["loaded_at"]), session["loaded_by"], request.short_key)
    )
