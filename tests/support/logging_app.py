"""`race_app` for a gunicorn with a configuration that does not say that a worker is ready."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import race_app

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def create() -> WSGIApplication:
    """Called by gunicorn, in the worker."""
    application = race_app.create()
    logging.getLogger("gunicorn.error").info("worker ready: %d", os.getpid())
    return application
