"""A shop as people write one: Pyramid with a security policy, pyramid_tm and pyramid_retry.

The line that mentions the session factory is all that a move to this package changes.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import transaction
from pyramid.authentication import SessionAuthenticationHelper
from pyramid.config import Configurator
from pyramid.csrf import get_csrf_token
from pyramid.httpexceptions import HTTPFound
from pyramid.response import Response
from pyramid.security import forget, remember
from pyramid.session import SignedCookieSessionFactory
from pyramid_retry import RetryableException
from pyramid_session_redis import RedisSessionFactory

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE = """
user={user} cart={cart}
{flashes}
<form method="post"><input name="csrf_token" type="hidden" value="{token}"></form>
"""
HELPER = SessionAuthenticationHelper()


class ShopPolicy:
    """As Pyramid's documentation has it."""

    def identity(self, request: Any) -> Any:
        return HELPER.authenticated_userid(request)

    authenticated_userid = identity

    def permits(self, request: Any, context: Any, permission: str) -> bool:
        return self.identity(request) is not None

    def remember(self, request: Any, userid: Any, **kw: Any) -> Any:
        return HELPER.remember(request, userid, **kw)

    def forget(self, request: Any, **kw: Any) -> Any:
        return HELPER.forget(request, **kw)


def shelf(request: Any) -> Any:
    """Show the cart and the messages."""
    page = PAGE.format(
        user=request.authenticated_userid,
        cart=",".join(request.session.get("cart", [])),
        flashes="\n".join(f"flash={text}" for text in request.session.pop_flash()),
        token=get_csrf_token(request),
    )
    return Response(page)


def put(request: Any) -> Any:
    """Add to the cart; the first attempt fails, as by a conflict of the database."""
    item = request.POST["item"]
    session = request.session
    session["cart"] = [*session.get("cart", []), item]
    session.flash(f"put {item}")
    if request.environ["retry.attempt"] == 0:
        raise RetryableException
    transaction.get().note(item)
    return HTTPFound("/")


def enter(request: Any) -> Any:
    """Log in."""
    return HTTPFound("/", headers=remember(request, request.POST["item"]))


def leave(request: Any) -> Any:
    """Log out."""
    headers = forget(request)
    request.session.invalidate()
    return HTTPFound("/", headers=headers)


def factory(settings: Mapping[str, Any]) -> Any:
    """The sessions that the shop had before."""
    if "shop.redis" not in settings:
        return SignedCookieSessionFactory(settings["shop.secret"], timeout=3600)
    return RedisSessionFactory(
        settings["shop.secret"],
        redis_url=settings["shop.redis"],
        serialize=lambda data: json.dumps(data).encode(),
        deserialize=json.loads,
    )


def main(**settings: Any) -> Any:
    """The application, as PasteDeploy makes it."""
    with Configurator(settings={"retry.attempts": 3, **settings}) as config:
        config.set_session_factory(factory(settings))
        config.include("pyramid_retry")
        config.include("pyramid_tm")
        config.set_security_policy(ShopPolicy())
        config.set_default_csrf_options(require_csrf=True)
        for path, view, method in (
            ("/", shelf, "GET"),
            ("/", put, "POST"),
            ("/enter", enter, "POST"),
            ("/leave", leave, "POST"),
        ):
            name = f"{method} {path}"
            config.add_route(name, path, request_method=method)
            config.add_view(view, route_name=name)
        return config.make_wsgi_app()


def served() -> Any:
    """The application of a server; the environment has its settings."""
    names = [name for name in os.environ if name.startswith("SHOP_")]
    return main(**{name.lower().replace("_", "."): os.environ[name] for name in names})
