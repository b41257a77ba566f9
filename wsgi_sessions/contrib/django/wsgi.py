"""Additions to a site's ``wsgi.py``, and the manager for jobs and views."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from django.conf import settings
from django.utils.module_loading import import_string

from wsgi_sessions.contrib.django.config import config_of
from wsgi_sessions.contrib.django.middleware import SessionMiddleware
from wsgi_sessions.contrib.django.site import site
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.stack.build import Stack, build

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication
    from typing_extensions import Unpack

    from wsgi_sessions.core.manager import SessionManager
    from wsgi_sessions.stack.hooks import Hooks


def wrap(application: WSGIApplication, **hooks: Unpack[Hooks]) -> Stack:
    """Wrap a site's WSGI application, for all that takes place outside of Django::

        application = wrap(get_wsgi_application())

    That is: health paths, leases, version stamps, contexts, exclusive paths, and changes of a
    streamed response. It needs `SessionMiddleware` of this module in ``MIDDLEWARE``. `hooks` are
    those of `wsgi_sessions.build`. Raises ConfigurationError.
    """
    _require_middleware()
    stack = build(application, config_of(settings, os.environ), **hooks)
    site().use(stack.opened)
    stack.sessions.adoption = site().adoption()
    return stack


def _require_middleware() -> None:
    found = (import_string(path) for path in settings.MIDDLEWARE)
    if not any(isinstance(each, type) and issubclass(each, SessionMiddleware) for each in found):
        raise ConfigurationError(
            "wrap needs the middleware of this package: put "
            "'wsgi_sessions.contrib.django.SessionMiddleware' into MIDDLEWARE, in place of Django's"
        )


def manager() -> SessionManager:
    """Return the manager, which finds and ends sessions of a user.

    For example ``manager().destroy_sessions_of(str(user.pk))``. Raises ConfigurationError.
    """
    return site().sessions().manager
