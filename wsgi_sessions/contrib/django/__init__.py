"""Django: ``request.session`` is a session of this package, and views do not change.

``SESSION_ENGINE = "wsgi_sessions.contrib.django"`` is all that it takes.
"""

from wsgi_sessions.contrib.django.engine import SessionStore

__all__ = ["SessionStore"]
