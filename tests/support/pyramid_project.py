"""A Pyramid application, as its ``__init__.py`` would have it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import transaction
from pyramid.authentication import SessionAuthenticationHelper
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPForbidden, HTTPFound
from pyramid.response import Response
from pyramid_retry import RetryableException

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "a-secret-of-the-tests-with-32-bytes"
SETTINGS: dict[str, Any] = {
    "wsgi_sessions.url": "memory://",
    "wsgi_sessions.secret_keys": SECRET,
    "wsgi_sessions.sweep_interval": "off",
    "tm.annotate_user": False,  # it would read the session for each request
    "retry.attempts": 3,
}
HELPER = SessionAuthenticationHelper()


class SecurityPolicy:
    """As Pyramid's documentation has it."""

    def identity(self, request: Any) -> Any:
        return HELPER.authenticated_userid(request)

    def authenticated_userid(self, request: Any) -> Any:
        return HELPER.authenticated_userid(request)

    def permits(self, request: Any, context: Any, permission: str) -> bool:
        return permission == "view" or request.authenticated_userid is not None

    def remember(self, request: Any, userid: Any, **kw: Any) -> Any:
        return HELPER.remember(request, userid, **kw)

    def forget(self, request: Any, **kw: Any) -> Any:
        return HELPER.forget(request, **kw)


def show(request: Any) -> Any:
    """What the session holds."""
    return dict(request.session)


def put(request: Any) -> Any:
    """Assign the query's keys."""
    request.session.update(request.GET)
    return dict(request.session)


def enter(request: Any) -> Any:
    """Log the named user in, by a response that is raised."""
    from pyramid.security import remember

    raise HTTPFound("/show", headers=remember(request, request.GET["name"]))


def leave(request: Any) -> Any:
    """Log out, and say so."""
    from pyramid.security import forget

    if request.authenticated_userid is None:
        request.session.invalidate()
    headers = forget(request)
    request.session.flash("logged out")
    if "fails" in request.GET:
        raise RuntimeError("planted")
    return Response("out", headerlist=headers or None)


def nothing(_request: Any) -> Any:
    """A page that does not look at the session."""
    return Response("nothing")


def fails(request: Any) -> Any:
    """A 500 after a change, raised or returned."""
    request.session["failed"] = True
    if "raised" in request.GET:
        raise RuntimeError("planted")
    return Response("failed", status=500)


def refuses(request: Any) -> Any:
    """A refusal that is raised after a change."""
    request.session["refused"] = True
    raise HTTPForbidden


def stream(request: Any) -> Any:
    """Change the session while the body is made."""

    def chunks() -> Iterator[bytes]:
        yield b"begun"
        request.session["streamed"] = True
        yield b", and ended"

    return Response(app_iter=chunks())


def late(request: Any) -> Any:
    """Change the session in a response callback."""
    request.add_response_callback(lambda request, _response: request.session.update(late=True))
    return Response("later")


def say(request: Any) -> Any:
    """Add a message."""
    request.session.flash(request.GET["text"], request.GET.get("queue", ""))
    return Response("said")


def hear(request: Any) -> Any:
    """Show all messages."""
    return {"heard": request.session.pop_flash(request.GET.get("queue", ""))}


def bump(request: Any) -> Any:
    """Count, and keep what came, in a list and under a key of its own."""
    item = request.GET["item"]
    request.session.increment("n")
    cart = request.session.setdefault("cart", [])
    time.sleep(int(request.GET.get("hold", 0)) / 1000)  # others change it meanwhile
    cart.append(item)
    request.session[f"item {item}"] = True
    return Response("ok")


def retried(request: Any) -> Any:
    """Fail in the first attempts, after a change that each attempt makes."""
    attempt = request.environ["retry.attempt"]
    request.session[f"attempt {attempt}"] = True
    request.session.append("attempts", attempt)
    request.session.flash(f"attempt {attempt}")
    if attempt < int(request.GET["until"]):
        raise RetryableException
    return dict(request.session)


def inner(request: Any) -> Any:
    """Ask another view of this application."""
    sub = type(request).blank(request.GET["path"], cookies=request.cookies)
    response = request.invoke_subrequest(sub)
    return {"status": response.status, "cookie": response.headers.get("Set-Cookie")}


def doomed(_request: Any) -> Any:
    """Abort the database's transaction, and go on."""
    transaction.doom()
    return Response("aborted")


VIEWS = (
    *(show, put, enter, leave, nothing, fails, refuses, stream, late, say, hear, bump, retried),
    *(inner, doomed),
)


def configured(**settings: Any) -> Any:
    """A Configurator with all views; `settings` are those of this package, without prefix."""
    ours = {f"wsgi_sessions.{name}": value for name, value in settings.items()}
    config = Configurator(settings={**SETTINGS, **ours})
    config.include("wsgi_sessions.contrib.pyramid")
    config.include("pyramid_retry")
    config.include("pyramid_tm")
    config.set_security_policy(SecurityPolicy())
    for view in VIEWS:
        config.add_route(view.__name__, f"/{view.__name__}")
        config.add_view(view, route_name=view.__name__, renderer="json")
    return config


def served() -> Any:
    """The application of a server under test, whose environment configures its sessions."""
    return configured(url=None, secret_keys=None, sweep_interval=None).make_wsgi_app()


def create(**settings: Any) -> Any:
    """The application; the environment may name its store."""
    outside = os.environ.get("PYRAMID_PROJECT_URL")
    return configured(**({"url": outside} if outside else {}), **settings).make_wsgi_app()
