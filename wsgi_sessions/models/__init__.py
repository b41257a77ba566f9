"""Sessions with a schema: fields with types and defaults, and their migrations.

Nothing else imports this package: an application that does not use it pays nothing for it.
"""

from wsgi_sessions.models.migrations import migration
from wsgi_sessions.models.model import SessionModel, typed

__all__ = ["SessionModel", "migration", "typed"]
