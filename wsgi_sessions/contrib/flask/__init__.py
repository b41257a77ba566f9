"""Flask: ``flask.session`` is a session of this package, and routes do not change."""

from wsgi_sessions.contrib.flask.interface import WSGISessions, current_session, exclusive

__all__ = ["WSGISessions", "current_session", "exclusive"]
