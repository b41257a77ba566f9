"""Applications that the command line's --app names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Flask, session

from wsgi_sessions import Config, build, get_session
from wsgi_sessions.contrib.flask import WSGISessions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


SECRET = "a-secret-of-the-tests-with-32-bytes-or-more"


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    get_session(environ).login("alice")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"in"]


def stack(url: str, **more: Any) -> WSGIApplication:
    config = Config(url=url, secret_keys=(SECRET,), application="shop", sweep_interval=None, **more)
    return build(app, config)


def flask_app(url: str) -> Flask:
    made = Flask("shop")
    made.config.update(SECRET_KEY=SECRET, WSGI_SESSIONS_URL=url, WSGI_SESSIONS_IDLE_LIFETIME="5m")
    WSGISessions(made)
    made.add_url_rule("/", "index", lambda: session.update(_user_id="alice") or "in")
    return made
