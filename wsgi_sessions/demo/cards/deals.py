"""The card of contexts: open a deal, lose the session, log in, and the deal is open again."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup
from werkzeug.exceptions import NotFound
from werkzeug.routing import Rule

from wsgi_sessions.contexts.middleware import select_context
from wsgi_sessions.demo.deals import DEALS, KEY, Deals, News
from wsgi_sessions.demo.template import STATUS, clock, template

if TYPE_CHECKING:
    from werkzeug.wrappers import Response

    from wsgi_sessions.demo.request import DemoRequest

LOST_COOKIE = "lost"

_OPEN = Markup('<strong class="deal">{}</strong>')
_NOTHING_OPEN = Markup('<span class="deal empty">none</span>')
_DEAL = Markup('<button name="deal" value="{}"{}>{}</button>')
_PRESSED = Markup(' aria-pressed="true"')
_ACCESS = {"granted": ("/deals/revoke", "Revoke"), "revoked": ("/deals/grant", "Give back")}
_OPENED = Markup("Opened at {}, and remembered outside the session.")
_RESTORED = Markup(
    "<strong>✓ Restored</strong> by the middleware at {}, in process {}: the session had no deal, "
    "and access is allowed."
)
_LOST_ACCESS = Markup(
    "<strong>✗ Lost access</strong> to {}: so at {} it was not restored, but forgotten."
)
_REFUSED = Markup("<strong>✗ Refused</strong> at {}: access to {} is revoked.")
_NOT_ASKED_YET = Markup(
    "Access is revoked. The middleware checks it when it restores: lose the session."
)


class DealCard(NamedTuple):
    """Shows the open deal of a visitor, and the latest decision."""

    deals: Deals

    @staticmethod
    def rules() -> list[Rule]:
        """Return the routes of its buttons."""
        return [
            Rule("/deals", methods=["POST"], endpoint="cards.deals.open"),
            Rule("/deals/revoke", methods=["POST"], endpoint="cards.deals.revoke"),
            Rule("/deals/grant", methods=["POST"], endpoint="cards.deals.grant"),
            Rule("/lose", methods=["POST"], endpoint="cards.deals.lose"),
        ]

    def open(self, request: DemoRequest) -> Response:
        """Select a deal, if that is allowed."""
        deal, _ = request.text("deal", 10), request.user
        if deal not in DEALS:
            raise NotFound
        select_context(request.environ, deal)  # `Deals.note` records the outcome
        return request.see_page("deals")

    def revoke(self, request: DemoRequest) -> Response:
        """Let the permission hook deny access from now on."""
        self.deals.revoke(request.user)
        return request.see_page("deals")

    def grant(self, request: DemoRequest) -> Response:
        """Let it allow access again."""
        self.deals.grant(request.user)
        return request.see_page("deals")

    def lose(self, request: DemoRequest) -> Response:
        """Delete the record, as if the store had lost it."""
        name, key = str(request.user), request.key
        if key is not None:
            request.backend.sessions.delete(key)
        response = request.see_page("deals")
        response.set_cookie(LOST_COOKIE, name, httponly=True, samesite="Lax")
        return response

    def render(self, request: DemoRequest) -> Markup:
        """Return the card for a logged-in visitor."""
        deal, is_revoked = request.session.get(KEY), self.deals.is_revoked(request.user)
        access = "revoked" if is_revoked else "granted"
        path, change = _ACCESS[access]
        return template("deals.html").format(
            open=_OPEN.format(_name(deal)) if deal else _NOTHING_OPEN,
            choices=_choices(deal),
            access_path=path,
            access=access,
            change=change,
            status=_status(deal, self.deals.news(request.user), is_revoked=is_revoked),
        )


def render_lost(name: str) -> Markup:
    """Return the card for a visitor whose session was lost."""
    return template("lost.html").format(name=name)


def _choices(current: str | None) -> Markup:
    return Markup("").join(
        _DEAL.format(deal, _PRESSED if deal == current else "", deal) for deal in DEALS
    )


def _name(deal: str) -> str:
    return f"Deal {deal}, {DEALS.get(deal)}"


def _status(deal: str | None, news: News | None, *, is_revoked: bool) -> Markup:
    if news is None:
        return Markup("")
    at, name = clock(news.at), _name(news.deal)
    if news.outcome == "allowed":
        if is_revoked and deal is not None:
            return STATUS.format("plain", _NOT_ASKED_YET)
        if news.action == "restore":
            return STATUS.format("good", _RESTORED.format(at, news.worker))
        return STATUS.format("plain", _OPENED.format(at))
    if news.action == "restore":
        return STATUS.format("bad", _LOST_ACCESS.format(name, at))
    return STATUS.format("bad", _REFUSED.format(at, name))
