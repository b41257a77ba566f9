"""Django: ``request.session`` is a session of this package, and views do not change.

``SESSION_ENGINE = "wsgi_sessions.contrib.django"`` is enough. `SessionMiddleware` in place of
Django's, and `wrap` around the application in ``wsgi.py``, add the rest.
"""

from wsgi_sessions.contrib.django.admin.actions import end_sessions
from wsgi_sessions.contrib.django.admin.page import SessionsAdmin
from wsgi_sessions.contrib.django.engine import SessionStore
from wsgi_sessions.contrib.django.messages import MessageStorage
from wsgi_sessions.contrib.django.middleware import SessionMiddleware
from wsgi_sessions.contrib.django.wsgi import manager, wrap

__all__ = [
    "MessageStorage",
    "SessionMiddleware",
    "SessionStore",
    "SessionsAdmin",
    "end_sessions",
    "manager",
    "wrap",
]
