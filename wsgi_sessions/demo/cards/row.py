"""The cards under the race: faults, ends, version stamps, contexts, leases, devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wsgi_sessions.demo.cards.deals import LOST_COOKIE, DealCard, render_lost
from wsgi_sessions.demo.cards.devices import DeviceCard
from wsgi_sessions.demo.cards.faults import FaultCard
from wsgi_sessions.demo.cards.freshness import FreshnessCard
from wsgi_sessions.demo.cards.use import UseCard
from wsgi_sessions.demo.cards.why import WhyCard, render_ended
from wsgi_sessions.demo.keepalive import INTERVAL
from wsgi_sessions.demo.template import template

if TYPE_CHECKING:
    from markupsafe import Markup

    from wsgi_sessions.demo.request import DemoRequest

RULES = (
    *FreshnessCard.rules(),
    *DealCard.rules(),
    *UseCard.rules(),
    *DeviceCard.rules(),
    *FaultCard.rules(),
    *WhyCard.rules(),
)
"""The prefix of their endpoints, before the name of a field of `Cards`."""


class Cards(NamedTuple):
    """The cards; each field has the name of its place on the page."""

    freshness: FreshnessCard
    deals: DealCard
    use: UseCard
    devices: DeviceCard
    faults: FaultCard
    why: WhyCard

    def render(self, request: DemoRequest) -> Markup:
        """Return the cards for a visitor."""
        if request.session.principal is None:
            contents = _for_nobody(request)
        else:
            contents = {name: card.render(request) for name, card in self._asdict().items()}
        return template("cards.html").format(interval=INTERVAL, **contents)


def _for_nobody(request: DemoRequest) -> dict[str, Markup]:
    log_in, lost = template("log_in_first.html"), request.cookies.get(LOST_COOKIE)
    deals = render_lost(lost) if lost else log_in
    why = render_ended(request) or log_in
    return {**dict.fromkeys(Cards._fields, log_in), "deals": deals, "why": why}
