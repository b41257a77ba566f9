"""Requests that are run again in Flask, Django and Pyramid: the exception passes through them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import django_project
import flask
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.test import override_settings
from pyramid_project import configured

from wsgi_sessions.contrib.django import wrap
from wsgi_sessions.contrib.django.site import site
from wsgi_sessions.contrib.flask import WSGISessions
from wsgi_sessions.contrib.pyramid.include import served_in
from wsgi_sessions.testing import SessionClient

if TYPE_CHECKING:
    from wsgi_sessions.core.manager import SessionManager

OURS = "wsgi_sessions.contrib.django.SessionMiddleware"
MIDDLEWARE = [OURS if each == django_project.DJANGOS else each for each in settings.MIDDLEWARE]


def assert_both_count(client: SessionClient, manager: SessionManager) -> None:
    """Two requests that both have read the session before one of them writes."""
    client.get("/put?first=0")
    before = manager.events.counts()
    replies = client.parallel("/put?key=1", "/put?key=2")
    assert [reply.status_code for reply in replies] == [200, 200]
    after = manager.events.counts()
    assert after.get("run-again", 0) - before.get("run-again", 0) == 1
    assert after.get("conflict", 0) == before.get("conflict", 0)
    assert after.get("dropped", 0) == before.get("dropped", 0)
    with client.session() as session:
        assert session["key"] == "2"


def test_in_flask() -> None:
    app = flask.Flask(__name__)
    app.config.update(
        SECRET_KEY="s" * 40, WSGI_SESSIONS_URL="memory://", WSGI_SESSIONS_RETRY_PATHS="/put"
    )
    sessions = WSGISessions(app)
    errors: list[Any] = []
    app.teardown_request(errors.append)

    @app.get("/put")
    def put() -> str:
        flask.session.update(flask.request.args.to_dict())
        return ""

    with SessionClient(app) as client:
        assert_both_count(client, sessions.manager(app))
    assert errors == [None] * 4


def test_in_pyramid() -> None:
    config = configured(retry_paths="/put")
    with SessionClient(config.make_wsgi_app()) as client:
        assert_both_count(client, served_in(config.registry).stack().manager)


def test_in_django() -> None:
    with override_settings(
        WSGI_SESSIONS_URL="memory://", WSGI_SESSIONS_RETRY_PATHS="/put", MIDDLEWARE=MIDDLEWARE
    ):
        stack = wrap(WSGIHandler())
        try:
            with SessionClient(stack) as client:
                assert_both_count(client, stack.manager)
        finally:
            site().close()
