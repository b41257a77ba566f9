"""System checks: contradictions in a site's settings, reported before the first request."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.core.checks import Error
from django.core.checks import Warning as Doubt
from django.utils.module_loading import import_string

from wsgi_sessions.contrib.django.config import FORMER_ENGINE, config_of, own_settings
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.identity import new_id

if TYPE_CHECKING:
    from collections.abc import Iterator

ENGINE = "wsgi_sessions.contrib.django"
_JSON = "django.contrib.sessions.serializers.JSONSerializer"


def check_settings(**_: Any) -> list[Any]:
    """Called by Django."""
    return [*_configuration(), *_engine(), *_columns()]


def _configuration() -> Iterator[Any]:
    try:
        config_of(settings, os.environ)
        former = own_settings(settings).get(FORMER_ENGINE)
    except ConfigurationError as error:
        yield Error(str(error), id="wsgi_sessions.E001")
        return
    if former == ENGINE:
        yield Error(
            "FORMER_ENGINE in WSGI_SESSIONS is this very engine",
            hint="Name the SESSION_ENGINE that the site had before, or take it out.",
            id="wsgi_sessions.E002",
        )


def _engine() -> Iterator[Any]:
    if settings.SESSION_ENGINE != ENGINE:
        yield Doubt(
            f"SESSION_ENGINE is {settings.SESSION_ENGINE!r}: sessions are kept by that engine.",
            hint=f"Set SESSION_ENGINE = {ENGINE!r}, or take {ENGINE!r} out of INSTALLED_APPS.",
            id="wsgi_sessions.W003",
        )
        return
    if settings.SESSION_SERIALIZER != _JSON:
        yield Doubt(
            "SESSION_SERIALIZER is not used: values are stored as wsgi_sessions encodes them.",
            hint="Take it out; FORMER_ENGINE still reads with it what was stored before.",
            id="wsgi_sessions.W004",
        )
    if len(_middlewares()) > 1:
        yield Error(
            "MIDDLEWARE has more than one SessionMiddleware: each request has two sessions.",
            hint=f"Keep {ENGINE}.SessionMiddleware alone.",
            id="wsgi_sessions.E005",
        )


def _middlewares() -> list[str]:
    from django.contrib.sessions.middleware import SessionMiddleware

    def is_one(path: str) -> bool:
        found = import_string(path)
        return isinstance(found, type) and issubclass(found, SessionMiddleware)

    return [path for path in settings.MIDDLEWARE if is_one(path)]


def _columns() -> Iterator[Any]:
    """Yield columns of the site in which a session key would be cut, or refused."""
    length = len(new_id())
    for model in apps.get_models():
        if model._meta.app_label == "sessions":  # noqa: SLF001  # documented by Django
            continue
        for field in model._meta.get_fields():  # noqa: SLF001  # documented by Django
            longest = getattr(field, "max_length", None)
            if field.name == "session_key" and longest is not None and longest < length:
                yield Doubt(
                    f"{model.__name__}.session_key takes {longest} characters; a session key has "
                    f"{length}.",
                    hint=f"Give the field max_length={length} or more, and migrate.",
                    obj=field,
                    id="wsgi_sessions.W006",
                )
