"""Pyramid: ``request.session`` is a session of this package, and views do not change.

``config.include("wsgi_sessions.contrib.pyramid")`` is all that it takes.
"""

from wsgi_sessions.contrib.pyramid.include import add_session_hooks, includeme, manager
from wsgi_sessions.contrib.pyramid.session import PyramidSession

__all__ = ["PyramidSession", "add_session_hooks", "includeme", "manager"]
