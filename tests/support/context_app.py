"""The application of the contexts' end-to-end tests: deals, of which one is current.

What a user may access is in a folder that all workers share: a file ``denied-7`` or ``gone-7``
there says so of deal 7.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from race_app import record

from wsgi_sessions import from_env, get_session, select_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from wsgi_sessions.contexts.permissions import Principal, Verdict

RIGHTS = "CONTEXT_APP_RIGHTS"
KEY = "current_deal_id"


def may_access(principal: Principal, value: Any, environ: Any) -> Verdict:
    """The permission hook, which the environment names."""
    for verdict in ("denied", "gone"):
        if os.path.exists(os.path.join(os.environ[RIGHTS], f"{verdict}-{value}")):
            return verdict
    return "allowed"


def login(environ: WSGIEnvironment, query: dict[str, str]) -> object:
    """Log in, and look at nothing else."""
    get_session(environ).login(query["user"])
    return None


def logout(environ: WSGIEnvironment, query: dict[str, str]) -> object:
    """Log out."""
    get_session(environ).flush()
    return None


def deal(environ: WSGIEnvironment, query: dict[str, str]) -> object:
    """The current deal."""
    return get_session(environ).get(KEY)


def choose(environ: WSGIEnvironment, query: dict[str, str]) -> object:
    """Put a deal into the session, and nothing else."""
    get_session(environ)[KEY] = int(query["deal"])
    return None


def select(environ: WSGIEnvironment, query: dict[str, str]) -> object:
    """Select a deal."""
    return select_context(environ, int(query["deal"]))


ROUTES: dict[str, Callable[[WSGIEnvironment, dict[str, str]], object]] = {
    f"/{route.__name__}": route for route in (login, logout, deal, choose, select)
}


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answers with what a route returned, and which worker it was."""
    query = dict(parse_qsl(environ.get("QUERY_STRING", "")))
    found = ROUTES[environ["PATH_INFO"]](environ, query)
    body = json.dumps({"result": found, "pid": os.getpid()}).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]


def create() -> WSGIApplication:
    """What gunicorn calls in each worker."""
    return from_env(app, on_event=record)
