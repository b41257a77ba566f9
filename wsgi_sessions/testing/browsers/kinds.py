"""The browser for each kind of test client."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from werkzeug.test import Client

from wsgi_sessions.testing.browsers import wsgi

if TYPE_CHECKING:
    from wsgi_sessions.testing.browsers.browser import SessionBrowser


def browser_of(app: Any, sessions: Any, *args: Any, **more: Any) -> SessionBrowser:
    """Return the browser for a test client, or for Werkzeug's around an application.

    Raises ValueError if the application has no sessions of this package.
    """
    if _is_a(app, "django.test.client", "Client"):
        from wsgi_sessions.testing.browsers.django import DjangoBrowser

        return DjangoBrowser(app)
    if _is_a(app, "webtest.app", "TestApp"):
        return wsgi.around_webtest(app, sessions)
    client = app if isinstance(app, Client) else Client(app, *args, **more)
    return wsgi.around_werkzeug(client, sessions)


def _is_a(app: Any, module: str, name: str) -> bool:
    """Tell an object of a framework; one that was not imported has made none."""
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(app, kind)
