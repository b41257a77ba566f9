"""The application of the demonstration: plain WSGI with Werkzeug, and one session per visitor.

It needs only `wsgi_sessions.build` (or `from_env`) around it, with hooks, and `get_session` and
`select_context` inside; code that looks deeper does so for show. Changes to the session are stored
when the handler has returned.

CSRF tokens are left out: only POST requests change anything, and browsers do not send a
SameSite=Lax cookie with a POST from another site. That is enough for a demonstration.
"""

from __future__ import annotations

import os
import secrets
from datetime import datetime, timezone
from importlib.resources import files
from operator import attrgetter
from typing import TYPE_CHECKING

from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.routing import Map, Rule
from werkzeug.utils import redirect
from werkzeug.wrappers import Response

from wsgi_sessions import build
from wsgi_sessions.demo import race
from wsgi_sessions.demo.cards.deals import LOST_COOKIE, DealCard
from wsgi_sessions.demo.cards.devices import DeviceCard
from wsgi_sessions.demo.cards.faults import FaultCard
from wsgi_sessions.demo.cards.freshness import FreshnessCard
from wsgi_sessions.demo.cards.row import RULES, Cards
from wsgi_sessions.demo.cards.use import UseCard
from wsgi_sessions.demo.cards.why import ENDED_COOKIE, WHY, WhyCard, lost_page
from wsgi_sessions.demo.deals import Deals
from wsgi_sessions.demo.keepalive import KeepAlive
from wsgi_sessions.demo.page import Page
from wsgi_sessions.demo.request import (
    SESSIONS_KEY,
    DemoRequest,
    answered,
    html,
    with_answers,
)
from wsgi_sessions.demo.teams import Teams
from wsgi_sessions.http.page_load import is_page_load

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from wsgi_sessions import Config
    from wsgi_sessions.demo.database import Database
    from wsgi_sessions.demo.naive import NaiveSession, NaiveSessions
    from wsgi_sessions.demo.outage import Outage
    from wsgi_sessions.demo.page import Setup
    from wsgi_sessions.demo.workers import Workers

NAIVE_COOKIE = "naive"
AWAY_COOKIE = "away"
"""Set by a log-out, so that the next page does not log the visitor in again."""

_WELCOME = "welcome"
_STEP = f"<int(min=1, max={race.STEPS}):number>"
ROUTES = Map(
    [
        Rule("/", methods=["GET"], endpoint="page"),
        Rule("/login", methods=["POST"], endpoint="log_in"),
        Rule("/logout", methods=["POST"], endpoint="log_out"),
        Rule("/notes", methods=["POST"], endpoint="add_note"),
        Rule("/count", methods=["POST"], endpoint="count"),
        Rule("/race", methods=["GET"], endpoint="race_without_script"),
        Rule("/race/start", methods=["POST"], endpoint="start_race"),
        Rule(f"/race/shared/{_STEP}", methods=["POST"], endpoint="shared_step"),
        Rule(f"/race/naive/{_STEP}", methods=["POST"], endpoint="naive_step"),
        Rule("/race/finish", methods=["POST"], endpoint="finish_race"),
        Rule("/static/<name>", methods=["GET"], endpoint="static"),
        *RULES,
    ]
)
STATIC_FILES = {
    "style.css": "text/css; charset=utf-8",
    "script.js": "text/javascript; charset=utf-8",
    "cards.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
PROTECTION = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def make_application(
    config: Config,
    setup: Setup,
    naive: NaiveSessions,
    database: Database,
    workers: Workers,
    outage: Outage,
) -> WSGIApplication:
    """Return the demonstration, with sessions configured by `config`."""
    teams, deals, keep_alive = Teams(database), Deals(database), KeepAlive(database)
    cards = Cards(
        FreshnessCard(teams),
        DealCard(deals),
        UseCard(keep_alive),
        DeviceCard(),
        FaultCard(workers, outage),
        WhyCard(),
    )
    stack = build(
        Demo(setup, naive, cards),
        config,
        version_refresh=teams.refresh,
        may_access=deals.may_access,
        on_audit=deals.note,
        refresh=keep_alive.refresh,
        on_event=keep_alive.note,
    )

    outage.keep_out(stack.manager.backend)

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ[SESSIONS_KEY] = stack.opened
        return stack(environ, start_response)

    return application


class Demo:
    """The page and the actions of its buttons, to be wrapped by `wsgi_sessions.build`.

    `setup` describes the server on the page; `naive` are the sessions that lose the race.
    """

    def __init__(self, setup: Setup, naive: NaiveSessions, cards: Cards) -> None:
        self._setup = setup
        self._naive = naive
        self.cards = cards

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """PEP 3333."""
        response = self._respond(DemoRequest(environ))
        response.headers.update(PROTECTION)
        return response(environ, start_response)

    def _respond(self, request: DemoRequest) -> Response:
        try:
            endpoint, arguments = ROUTES.bind_to_environ(request.environ).match()
            response: Response = attrgetter(endpoint)(self)(request, **arguments)
        except HTTPException as error:
            return Response.force_type(error.get_response(request.environ))
        return response

    # -- the page and its forms ----------------------------------------------------------------

    def page(self, request: DemoRequest) -> Response:
        """Return the page. A browser's first page load logs its visitor in, as a guest.

        If its session has ended, the page says why.
        """
        if _is_new(request):
            lost = lost_page(request)
            if lost is not None:
                return lost
            self._enter(request, f"Guest {secrets.token_hex(2)}")
            location = f"/?{_WELCOME}"  # without the cookie, that shows the form
            return with_answers(Response.force_type(redirect(location, 303)), request.answers())
        return self._page(request, notice="")

    def log_in(self, request: DemoRequest) -> Response:
        """Log in under any name. The session gets a new id, and the old one is dead at once."""
        self._enter(request, request.text("name", 40))
        card = request.form.get("card", "")
        response = request.see_page(card if card in Cards._fields else "")
        response.delete_cookie(LOST_COOKIE)
        response.delete_cookie(AWAY_COOKIE)
        response.delete_cookie(ENDED_COOKIE)
        return response

    def _enter(self, request: DemoRequest, name: str) -> None:
        session = request.session
        session.login(name)
        session["login_at"] = datetime.now(timezone.utc).replace(microsecond=0)
        session.update(self.cards.freshness.teams.load(session.principal, "log-in"))
        session.keep_alive()

    def log_out(self, request: DemoRequest) -> Response:
        """Destroy the session with its contents."""
        request.session.flush()
        response = request.see_page()
        response.set_cookie(AWAY_COOKIE, "1", httponly=True, samesite="Lax")
        return response

    def add_note(self, request: DemoRequest) -> Response:
        """Append to a list. Items of all overlapping requests stay."""
        request.session.append("notes", request.text("note", 200))
        return request.see_page()

    def count(self, request: DemoRequest) -> Response:
        """Increment a counter. All overlapping requests count."""
        request.session.increment("count")
        return request.see_page()

    # -- the race ------------------------------------------------------------------------------

    def race_without_script(self, request: DemoRequest) -> Response:
        """Explain that the race needs JavaScript."""
        return self._page(
            request,
            notice="The race needs JavaScript: a form sends one request, and the race takes "
            f"{race.STEPS}. Everything else on this page works without it.",
        )

    def start_race(self, request: DemoRequest) -> Response:
        """Prepare both sessions and store them, so that all steps find them."""
        race.prepare(request.session)
        session_id, naive = self._open_naive(request)
        race.prepare(naive)
        self._naive.save(session_id, naive)
        response = answered(self._number())
        response.set_cookie(NAIVE_COOKIE, session_id, httponly=True, samesite="Lax")
        return response

    def shared_step(self, request: DemoRequest, number: int) -> Response:
        """Take one step of the race, on the session of this package."""
        worker = self._number()
        race.step(request.session, number, worker)
        return answered(worker)

    def naive_step(self, request: DemoRequest, number: int) -> Response:
        """Take the same step on the naive session."""
        worker = self._number()
        session_id, naive = self._open_naive(request)
        race.step(naive, number, worker)
        self._naive.save(session_id, naive)
        return answered(worker)

    def finish_race(self, request: DemoRequest) -> Response:
        """Count the results once the browser has all answers: missing steps are lost."""
        race.finish(request.session)
        return answered(self._number())

    # -- the rest ------------------------------------------------------------------------------

    def static(self, request: DemoRequest, name: str) -> Response:
        """Return the style sheet, the script or the icon."""
        if name not in STATIC_FILES:
            raise NotFound
        content = (files(__package__) / "static" / name).read_bytes()
        response = Response(content, content_type=STATIC_FILES[name])
        response.headers["Cache-Control"] = "no-cache"
        response.add_etag()
        return response.make_conditional(request.environ)

    def _page(self, request: DemoRequest, notice: str) -> Response:
        _, naive = self._open_naive(request)
        answers = request.answers()
        cards = self.cards.render(request)
        workers = self.cards.faults.workers
        page = Page(self._setup, workers, answers, request.session, naive, cards, notice)
        return with_answers(html(page.render()), answers)

    def _number(self) -> int:
        """Return the number of this worker."""
        return self.cards.faults.workers.number(os.getpid())

    def _open_naive(self, request: DemoRequest) -> tuple[str, NaiveSession]:
        return self._naive.open(request.cookies.get(NAIVE_COOKIE))


def _is_new(request: DemoRequest) -> bool:
    """Return whether to log a visitor in: a browser's first page, without a log-out before it."""
    if not is_page_load(request.environ) or {_WELCOME, WHY} & request.args.keys():
        return False
    left = {AWAY_COOKIE, LOST_COOKIE} & request.cookies.keys()
    return not left and request.session.principal is None
