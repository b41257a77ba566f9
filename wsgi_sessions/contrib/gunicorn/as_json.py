"""gunicorn's log as JSON: ``gunicorn -c python:wsgi_sessions.contrib.gunicorn.as_json``."""

from __future__ import annotations

from wsgi_sessions.contrib import gunicorn
from wsgi_sessions.contrib.gunicorn.formats import JsonLines

__all__ = ["logconfig_dict"]

logconfig_dict = {**gunicorn.logconfig_dict, "formatters": {"lines": {"()": JsonLines}}}
