"""JsonLines: log records as JSON, one a line, with all that an event knows."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone

from wsgi_sessions import texts

_OF_LOGGING = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """Formats a record as an object: ``time``, ``level``, ``logger``, ``process``, ``message``.

    ``time`` is UTC, as RFC 3339 has it. Every further attribute of the record is a member of its
    own, so the facts of an event are: ``session_event``, ``session_route``, …. An exception is in
    ``exception``. The line is ASCII. A value that JSON does not know is shown as text.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line for a record."""
        at = datetime.fromtimestamp(record.created, timezone.utc)
        line = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        more = {name: value for name, value in vars(record).items() if name not in _OF_LOGGING}
        if record.exc_info:
            line["exception"] = record.exc_text or self.formatException(record.exc_info)
        return json.dumps({**more, **line}, default=texts.shown)
