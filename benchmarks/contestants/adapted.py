"""This package by its adapters, in each framework that has one, on a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.contestants.django_peers import MIDDLEWARE, django_site
from benchmarks.contestants.ours import SECRET, url_of
from benchmarks.contestants.peers import flask_site, pyramid_site
from benchmarks.contestants.table import Site

if TYPE_CHECKING:
    from benchmarks.harness.places import Place

ENGINE = "wsgi_sessions.contrib.django"


def flask(place: Place, store: str) -> Site:
    """``WSGISessions(app)``."""

    def configure(app: Any) -> None:
        from wsgi_sessions.contrib.flask import WSGISessions

        app.config["WSGI_SESSIONS_URL"] = url_of(store, place)
        WSGISessions(app)

    return flask_site(place, configure)


def django(place: Place, store: str, middleware: str = MIDDLEWARE) -> Site:
    """``SESSION_ENGINE`` alone, under Django's own middleware."""
    return django_site(place, ENGINE, middleware, WSGI_SESSIONS_URL=url_of(store, place))


def django_wrapped(place: Place, store: str) -> Site:
    """``wrap`` around the site, and the middleware of this package."""
    site = django(place, store, f"{ENGINE}.SessionMiddleware")
    from wsgi_sessions.contrib.django import wrap

    return Site(wrap(site.app))


def pyramid(place: Place, store: str) -> Site:
    """``config.include``."""

    def configure(config: Any) -> None:
        config.registry.settings.update(
            {
                "wsgi_sessions.url": url_of(store, place),
                "wsgi_sessions.secret_keys": SECRET,
                "wsgi_sessions.cookie_secure": "never",
            }
        )
        config.include("wsgi_sessions.contrib.pyramid")

    return pyramid_site(configure)
