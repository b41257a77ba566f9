"""The application to name in INSTALLED_APPS, for the command and the system checks."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig
from django.core.checks import register


class WSGISessionsConfig(AppConfig):  # type: ignore[misc]  # Django has no annotations
    """``"wsgi_sessions.contrib.django"``."""

    name = "wsgi_sessions.contrib.django"
    label = "wsgi_sessions"
    verbose_name = "Sessions"

    def ready(self) -> None:
        """Called by Django: registers the system checks."""
        checks = import_module("wsgi_sessions.contrib.django.checks")
        register(checks.check_settings, "wsgi_sessions")
