"""Sessions that WSGI workers share: optimistic, merged, never lost silently.

Wrap an application, and every request has one::

    application = wsgi_sessions.from_env(application)
    ...
    session = wsgi_sessions.get_session(environ)

See the README for the guarantees, and `wsgi_sessions.session.Session` for what a session can do.
"""

from wsgi_sessions.audit import Audit, AuditRecord
from wsgi_sessions.config import Config
from wsgi_sessions.contexts import ApplicationContexts, ContextPolicy, Explanation
from wsgi_sessions.errors import (
    ConfigurationError,
    CorruptRecord,
    HeadersAlreadySent,
    LockTimeout,
    SessionConflict,
    SessionError,
    SessionTooLarge,
    StoreUnavailable,
    UnserializableValue,
)
from wsgi_sessions.events import Event
from wsgi_sessions.health import HealthReport, check
from wsgi_sessions.leases import LeasePolicy, Leases
from wsgi_sessions.maintenance import (
    backend_status,
    clear_stale_contexts,
    delete_expired,
    rebuild_index,
)
from wsgi_sessions.manager import SessionManager
from wsgi_sessions.middleware.context import (
    ContextMiddleware,
    explain_context,
    forget_context,
    select_context,
)
from wsgi_sessions.middleware.health import HealthMiddleware
from wsgi_sessions.middleware.lease import LeaseMiddleware
from wsgi_sessions.middleware.session import SessionMiddleware, get_session
from wsgi_sessions.middleware.version import VersionMiddleware
from wsgi_sessions.permissions import OwnerPermission, TenantPermission
from wsgi_sessions.refresh.refresher import Refresher
from wsgi_sessions.session import Session
from wsgi_sessions.stack import build, from_env
from wsgi_sessions.stores.sql.table import SYSTEM_SETTINGS, VersionTable, create_version_table
from wsgi_sessions.stores.sql.versions import SqlVersions, bump_version
from wsgi_sessions.stores.urls import open_backend
from wsgi_sessions.versions import CachedStamps, VersionPolicy

__version__ = "0.1.0"

__all__ = [
    "SYSTEM_SETTINGS",
    "ApplicationContexts",
    "Audit",
    "AuditRecord",
    "CachedStamps",
    "Config",
    "ConfigurationError",
    "ContextMiddleware",
    "ContextPolicy",
    "CorruptRecord",
    "Event",
    "Explanation",
    "HeadersAlreadySent",
    "HealthMiddleware",
    "HealthReport",
    "LeaseMiddleware",
    "LeasePolicy",
    "Leases",
    "LockTimeout",
    "OwnerPermission",
    "Refresher",
    "Session",
    "SessionConflict",
    "SessionError",
    "SessionManager",
    "SessionMiddleware",
    "SessionTooLarge",
    "SqlVersions",
    "StoreUnavailable",
    "TenantPermission",
    "UnserializableValue",
    "VersionMiddleware",
    "VersionPolicy",
    "VersionTable",
    "backend_status",
    "build",
    "bump_version",
    "check",
    "clear_stale_contexts",
    "create_version_table",
    "delete_expired",
    "explain_context",
    "forget_context",
    "from_env",
    "get_session",
    "open_backend",
    "rebuild_index",
    "select_context",
]
