"""A Pyramid application for servers under test."""

from __future__ import annotations

import time
from typing import Any

from pyramid.config import Configurator


def show(request: Any) -> Any:
    """What the session holds."""
    return dict(request.session.items())


def put(request: Any) -> Any:
    """Assign the query's keys."""
    request.session.update(request.params)
    return {}


def bump(request: Any) -> Any:
    """Count, and keep what came, in a list and under a key of its own."""
    session, item = request.session, request.params["item"]
    session.increment("n")
    cart = session.setdefault("cart", [])
    time.sleep(int(request.params.get("hold", 0)) / 1000)  # others change it meanwhile
    cart.append(item)
    session[f"item {item}"] = True
    return {}


def say(request: Any) -> Any:
    """Add a flash message."""
    request.session.flash(request.params["text"])
    return {}


def hear(request: Any) -> Any:
    """Show all flash messages."""
    return {"heard": request.session.pop_flash()}


def leave(request: Any) -> Any:
    """Log out."""
    request.session.invalidate()
    return {}


def create() -> Any:
    """The application; the environment says where its sessions are."""
    with Configurator() as config:
        config.include("wsgi_sessions.contrib.pyramid")
        for view in (show, put, bump, say, hear, leave):
            config.add_route(view.__name__, f"/{view.__name__}")
            config.add_view(view, route_name=view.__name__, renderer="json")
        return config.make_wsgi_app()
