"""The application to name in INSTALLED_APPS, for the command and the system checks."""

from __future__ import annotations

from django.apps import AppConfig


class WSGISessionsConfig(AppConfig):  # type: ignore[misc]  # Django has no annotations
    """``"wsgi_sessions.contrib.django"``."""

    name = "wsgi_sessions.contrib.django"
    label = "wsgi_sessions"
    verbose_name = "Sessions"
