"""The application of the console: plain WSGI with Werkzeug. It looks, and no more.

Without a `Revoker`, nothing but GET is answered. With one, a form may end sessions of a user: it
needs the cookie, which browsers send from the console's own pages only, and the token of the form.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from werkzeug.exceptions import Forbidden, HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import Map, Rule
from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response

from wsgi_sessions.console.admission import PATH
from wsgi_sessions.console.board import board
from wsgi_sessions.console.markup import paragraph, template
from wsgi_sessions.console.one import session_page
from wsgi_sessions.console.user import ALL, user_page
from wsgi_sessions.errors import SessionError
from wsgi_sessions.operations.words import counted
from wsgi_sessions.stack.config import with_variables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment
    from markupsafe import Markup

    from wsgi_sessions.console.admission import Admission
    from wsgi_sessions.console.revoking import Revoker
    from wsgi_sessions.console.view import View

ROUTES = Map(
    [
        Rule("/", methods=["GET"], endpoint="front"),
        Rule(f"{PATH}/", methods=["GET"], endpoint="page"),
        Rule(f"{PATH}/board", methods=["GET"], endpoint="board"),
        Rule(f"{PATH}/user", methods=["GET"], endpoint="user"),
        Rule(f"{PATH}/session", methods=["GET"], endpoint="session"),
        Rule(f"{PATH}/revoke", methods=["POST"], endpoint="revoke"),
        Rule(f"{PATH}/static/<name>", methods=["GET"], endpoint="static"),
    ]
)
STATIC_FILES = {
    "style.css": "text/css; charset=utf-8",
    "script.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
PROTECTION = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_MOST_FORM = 16 * 1024
_KEY_DIGITS = range(4, 65)


class ConsoleRequest(Request):
    """A request whose form is small."""

    max_content_length = _MOST_FORM

    def word(self, name: str) -> str:
        """Return a parameter of the URL."""
        return self.args.get(name, "").strip()


class Console:
    """The page, its parts, and the look-ups.

    `view` is what is looked at. `revoker` ends sessions; None: the console is read-only.
    """

    def __init__(self, view: View, access: Admission, revoker: Revoker | None = None) -> None:
        self._view = view
        self._access = access
        self._revoker = revoker

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """PEP 3333."""
        response = self._respond(ConsoleRequest(environ))
        response.headers.update(PROTECTION)
        return response(environ, start_response)

    def _respond(self, request: ConsoleRequest) -> Response:
        try:
            if self._access.knows(request.args.get("token")):
                return self._entered()
            if not self._access.lets_in(request):
                raise Forbidden("Open the URL that the command printed: it has a token.")
            endpoint, arguments = ROUTES.bind_to_environ(request.environ).match()
            handle: Callable[..., Response] = getattr(self, f"_{endpoint}")
            return handle(request, **arguments)
        except HTTPException as error:
            return Response.force_type(error.get_response(request.environ))

    def _entered(self) -> Response:
        response = Response.force_type(redirect(f"{PATH}/", 303))
        self._access.give_cookie(response)
        return response

    # -- what is shown -----------------------------------------------------------------------------

    def _front(self, _request: ConsoleRequest) -> Response:
        return Response.force_type(redirect(f"{PATH}/", 303))

    def _page(self, _request: ConsoleRequest) -> Response:
        return self._document("Sessions", board(self._view), is_live=True)

    def _board(self, _request: ConsoleRequest) -> Response:
        return _html(board(self._view))

    def _user(self, request: ConsoleRequest) -> Response:
        principal, ended = request.word("principal"), request.word("ended")
        token = None if self._revoker is None else self._access.form_token
        body = self._told(lambda: user_page(self._view, principal, token))
        if ended.isdecimal():
            body = paragraph(f"Ended {counted(int(ended), 'session')}.", "status good") + body
        return self._document("Sessions of a user", body, principal=principal)

    def _session(self, request: ConsoleRequest) -> Response:
        key = request.word("key").lower()
        if len(key) not in _KEY_DIGITS or not set(key) <= set("0123456789abcdef"):
            text = "A key is 4 to 64 hexadecimal digits, as lists and the log show it."
            # Not repeated in the page: it may be a session id.
            return self._document("One session", paragraph(text, "status bad"))
        return self._document("One session", self._told(lambda: session_page(self._view, key)))

    def _static(self, _request: ConsoleRequest, name: str) -> Response:
        if name not in STATIC_FILES:
            raise NotFound
        content = (files(__package__) / "static" / name).read_bytes()
        return Response(content, content_type=STATIC_FILES[name])

    # -- what is done ------------------------------------------------------------------------------

    def _revoke(self, request: ConsoleRequest) -> Response:
        if self._revoker is None:
            raise MethodNotAllowed(["GET"], "Read-only: only --allow-revoke lets it end sessions.")
        if not self._access.is_own_form(request):
            raise Forbidden("The form is not of this console: load its page again.")
        principal, only = request.form.get("principal", ""), request.form.get("only", "")
        if not principal or not only:
            raise NotFound("The form names no session.")
        try:
            ended = self._revoker.end(principal, None if only == ALL else only)
        except SessionError as error:
            told = paragraph(f"Nothing may have ended: {with_variables(str(error))}", "status bad")
            return self._document("Sessions of a user", told, principal=principal, status=503)
        query = urlencode({"principal": principal, "ended": ended})
        return Response.force_type(redirect(f"{PATH}/user?{query}", 303))

    # -- the document ------------------------------------------------------------------------------

    def _told(self, make: Callable[[], Markup]) -> Markup:
        try:
            return make()
        except SessionError as error:
            return paragraph(f"Could not be read: {with_variables(str(error))}", "status bad")

    def _document(
        self,
        title: str,
        body: Markup,
        *,
        principal: str = "",
        is_live: bool = False,
        status: int = 200,
    ) -> Response:
        if not is_live:
            body = template("card.html").format(title=title, body=body)
        page = template("page.html").format(
            title=title,
            store=self._view.backend.name,
            application=self._view.config.application or "",
            mode="read-only" if self._revoker is None else "may end sessions",
            principal=principal,
            refresh=template("refresh.html") if is_live else "",
            body=body,
        )
        return _html(page, status)


def _html(content: Markup, status: int = 200) -> Response:
    return Response(str(content), status, content_type="text/html; charset=utf-8")
