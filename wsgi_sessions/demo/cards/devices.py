"""The card of devices: the sessions of a user, each with its label and a button that ends it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup
from werkzeug.routing import Rule

from wsgi_sessions.demo.template import template

if TYPE_CHECKING:
    from werkzeug.wrappers import Response

    from wsgi_sessions import StoredSession
    from wsgi_sessions.demo.request import DemoRequest

OTHER = "Mobile Safari on iOS (pretended)"
_MOST = 8
_THIS = Markup('<span class="this">this one</span>')
_END = Markup('<button name="device" value="{}">Log out</button>')


class DeviceCard(NamedTuple):
    """Shows the sessions of a visitor; ends one of them, or all others."""

    @staticmethod
    def rules() -> list[Rule]:
        """Return the routes of its buttons."""
        return [
            Rule("/devices/add", methods=["POST"], endpoint="cards.devices.add"),
            Rule("/devices/end", methods=["POST"], endpoint="cards.devices.end"),
            Rule("/devices/end-others", methods=["POST"], endpoint="cards.devices.end_others"),
        ]

    def add(self, request: DemoRequest) -> Response:
        """Log the same user in on a device that is only pretended."""
        if len(_sessions(request)) < _MOST:
            transaction = request.sessions.begin(route="POST /devices/add")
            transaction.session.login(request.user)
            transaction.session.label = OTHER
            transaction.commit()
            transaction.close()
        return request.see_page("devices")

    def end(self, request: DemoRequest) -> Response:
        """End one session of the visitor, named by its short key; of no other user."""
        device = request.text("device", 64)
        request.sessions.manager.destroy_sessions_of(request.user, only=device)
        return request.see_page("devices")

    def end_others(self, request: DemoRequest) -> Response:
        """End all sessions of the visitor but this one."""
        request.sessions.manager.destroy_sessions_of(request.user, keep=request.key)
        return request.see_page("devices")

    def render(self, request: DemoRequest) -> Markup:
        """Return the card for a logged-in visitor."""
        rows = (_row(found) for found in _sessions(request))
        return template("devices.html").format(devices=Markup("").join(rows))


def _sessions(request: DemoRequest) -> list[StoredSession]:
    return request.sessions.manager.sessions_of(request.user, current=request.key)


def _row(found: StoredSession) -> Markup:
    return template("device.html").format(
        label=found.label or "Unknown device",
        since=_ago(found.created_at),
        used=_ago(found.last_used_at),
        action=_THIS if found.is_current else _END.format(found.short_key),
    )


def _ago(moment: float) -> str:
    minutes = round((time.time() - moment) / 60)
    return "just now" if minutes < 1 else f"{minutes} min ago"
