"""The card of faults: a worker is killed, the store stops, and every request still counts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from werkzeug.exceptions import Conflict
from werkzeug.routing import Rule

from wsgi_sessions.demo.outage import SECONDS
from wsgi_sessions.demo.request import json_response
from wsgi_sessions.demo.template import template

if TYPE_CHECKING:
    from markupsafe import Markup
    from werkzeug.wrappers import Response

    from wsgi_sessions.demo.outage import Outage
    from wsgi_sessions.demo.request import DemoRequest
    from wsgi_sessions.demo.workers import Workers

_PULSES = "pulses"


class FaultCard(NamedTuple):
    """Breaks what a session has to survive."""

    workers: Workers
    outage: Outage

    @staticmethod
    def rules() -> list[Rule]:
        """Return the routes of its buttons, and of the requests that go on all the while."""
        return [
            Rule("/kill", methods=["POST"], endpoint="cards.faults.kill"),
            Rule("/store/stop", methods=["POST"], endpoint="cards.faults.stop"),
            Rule("/pulse", methods=["POST"], endpoint="cards.faults.pulse"),
        ]

    def kill(self, request: DemoRequest) -> Response:
        """Kill a worker of this server as ``kill -9`` does."""
        _ = request.user
        pid = request.text("pid", 10)
        if not pid.isdecimal() or not self.workers.kill(int(pid)):
            raise Conflict(f"Process {pid} is not a worker any more: load the page again.")
        return self._told(request)

    def stop(self, request: DemoRequest) -> Response:
        """Stop the store for some seconds."""
        _ = request.user
        self.outage.begin()
        return self._told(request)

    def pulse(self, request: DemoRequest) -> Response:
        """Count one request in the session; return the worker and the sum."""
        _ = request.user
        request.session.increment(_PULSES)
        return self._state(request)

    def render(self, _request: DemoRequest) -> Markup:
        """Return the card for a logged-in visitor."""
        return template("faults.html").format(pid=os.getpid(), seconds=SECONDS)

    def _told(self, request: DemoRequest) -> Response:
        """Answer a script; a form without one is led back to the page."""
        if "application/json" in request.headers.get("Accept", ""):
            return self._state(request)
        return request.see_page("faults")

    def _state(self, request: DemoRequest) -> Response:
        number = self.workers.number(os.getpid())
        pulses = request.session.get(_PULSES, 0)
        return json_response({"worker": os.getpid(), "number": number, "pulses": pulses})
