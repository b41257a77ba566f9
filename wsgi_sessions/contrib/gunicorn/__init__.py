"""gunicorn's log with time and level: ``gunicorn -c python:wsgi_sessions.contrib.gunicorn``.

gunicorn gives only its own lines a time and a level; those of an application, and of this package,
come out bare, and below WARNING not at all. With this configuration all lines have both, on
stderr; ``-c python:wsgi_sessions.contrib.gunicorn.as_json`` writes them as JSON (`JsonLines`). A
configuration of your own takes it over::

    from wsgi_sessions.contrib.gunicorn import logconfig_dict

The access log stays as it is: off, unless ``--access-logfile`` asks for it.
"""

from __future__ import annotations

from wsgi_sessions.contrib.gunicorn.formats import JsonLines

__all__ = ["JsonLines", "logconfig_dict"]

_STDERR = {"class": "logging.StreamHandler", "formatter": "lines", "stream": "ext://sys.stderr"}
# A file of gunicorn's configuration: it takes the names that are settings of its own.
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "lines": {"format": "%(asctime)s %(levelname)s [%(process)d] %(name)s: %(message)s"}
    },
    "handlers": {"stderr": _STDERR},
    "root": {"level": "INFO", "handlers": ["stderr"]},
    "loggers": {"gunicorn.error": {"handlers": ["stderr"], "propagate": False}},
}
"""gunicorn's setting of this name: every line on stderr with time, level, process and logger."""
"""The setting of gunicorn of this name, for a configuration of your own."""
