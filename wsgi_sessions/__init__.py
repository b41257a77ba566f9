"""Sessions that WSGI workers share: optimistic, merged, never lost silently.

Wrap an application, and every request has one::

    application = wsgi_sessions.from_env(application)
    ...
    session = wsgi_sessions.get_session(environ)

See `docs/explanation/promises.md` for the guarantees, and `Session` for what a session can do.

The names in ``__all__`` of this package, of `wsgi_sessions.models`, of the adapters in
`wsgi_sessions.contrib` and of `wsgi_sessions.testing` are public; `docs/reference/api.md` lists
them. Everything else, in any module, is private: it may change or move in any release.
"""

from wsgi_sessions.contexts.audit import Audit, AuditRecord
from wsgi_sessions.contexts.middleware import (
    ContextMiddleware,
    explain_context,
    forget_context,
    select_context,
)
from wsgi_sessions.contexts.permissions import OwnerPermission, TenantPermission
from wsgi_sessions.contexts.policy import ApplicationContexts, ContextPolicy, Explanation
from wsgi_sessions.contexts.settings import ContextConfig
from wsgi_sessions.contract import (
    Backend,
    Bump,
    Context,
    ContextStore,
    LeasedLoading,
    LeaseInfo,
    LeaseListing,
    LeaseStore,
    PrincipalIndex,
    Record,
    RefreshQueue,
    SessionIteration,
    SessionStore,
    VersionStamps,
)
from wsgi_sessions.core.events import Event, Events
from wsgi_sessions.core.identity_rules import IdentityRules
from wsgi_sessions.core.limits.anonymous import AnonymousRules
from wsgi_sessions.core.limits.lifetimes import Lifetimes
from wsgi_sessions.core.manager import SessionManager
from wsgi_sessions.core.merge.conflict import RunAgain
from wsgi_sessions.core.merge.rules import MergeRules
from wsgi_sessions.core.principals import StoredSession
from wsgi_sessions.core.session import Session
from wsgi_sessions.core.transaction import Transaction
from wsgi_sessions.database.bump import SqlVersions, bump_version
from wsgi_sessions.database.version_table import SYSTEM_SETTINGS, VersionTable, create_version_table
from wsgi_sessions.endings import EndTrace, EndTraces
from wsgi_sessions.errors import (
    ConfigurationError,
    CorruptRecord,
    HeadersAlreadySent,
    InvalidValue,
    LockLost,
    LockTimeout,
    SessionConflict,
    SessionError,
    SessionExists,
    SessionGone,
    SessionTooLarge,
    StaleValue,
    StoreUnavailable,
    TooManySessions,
    TooManyWaiting,
    UnserializableValue,
    VersionConflict,
    WriteInDoubt,
)
from wsgi_sessions.health.checker import HealthReport, check
from wsgi_sessions.health.middleware import HealthMiddleware
from wsgi_sessions.health.settings import HealthConfig
from wsgi_sessions.http.answers import REFUSALS, Refusal, refusal_of
from wsgi_sessions.http.cookies.session_cookie import CookiePolicy, SessionCookie
from wsgi_sessions.http.environ import get_session
from wsgi_sessions.http.exclusive import exclusive
from wsgi_sessions.http.middleware import SessionMiddleware
from wsgi_sessions.http.retry import RetryMiddleware
from wsgi_sessions.identity import IdSigner
from wsgi_sessions.importers.settings import ImportConfig
from wsgi_sessions.leases.middleware import LeaseMiddleware
from wsgi_sessions.leases.policy import LeasePolicy, Leases
from wsgi_sessions.metrics.settings import MetricsConfig
from wsgi_sessions.mutex import Held, SessionLocks
from wsgi_sessions.operations.maintenance import (
    BackendStatus,
    ContextClearing,
    Deletion,
    backend_status,
    clear_stale_contexts,
    delete_expired,
    rebuild_index,
)
from wsgi_sessions.refresh.refresher import Refresher
from wsgi_sessions.refresh.settings import RefreshConfig
from wsgi_sessions.stack.build import Stack, build, from_env
from wsgi_sessions.stack.config import Config
from wsgi_sessions.stack.sessions import Sessions, open_sessions
from wsgi_sessions.stores.databases import migrate_schema, open_sql
from wsgi_sessions.stores.urls import open_backend
from wsgi_sessions.upkeep import ExpiredDeletion, KeySearch, Quarantine
from wsgi_sessions.versions.middleware import VersionMiddleware
from wsgi_sessions.versions.policy import CachedStamps, VersionPolicy
from wsgi_sessions.versions.settings import VersionConfig

__version__ = "0.1.0"

__all__ = [
    "REFUSALS",
    "SYSTEM_SETTINGS",
    "AnonymousRules",
    "ApplicationContexts",
    "Audit",
    "AuditRecord",
    "Backend",
    "BackendStatus",
    "Bump",
    "CachedStamps",
    "Config",
    "ConfigurationError",
    "Context",
    "ContextClearing",
    "ContextConfig",
    "ContextMiddleware",
    "ContextPolicy",
    "ContextStore",
    "CookiePolicy",
    "CorruptRecord",
    "Deletion",
    "EndTrace",
    "EndTraces",
    "Event",
    "Events",
    "ExpiredDeletion",
    "Explanation",
    "HeadersAlreadySent",
    "HealthConfig",
    "HealthMiddleware",
    "HealthReport",
    "Held",
    "IdSigner",
    "IdentityRules",
    "ImportConfig",
    "InvalidValue",
    "KeySearch",
    "LeaseInfo",
    "LeaseListing",
    "LeaseMiddleware",
    "LeasePolicy",
    "LeaseStore",
    "LeasedLoading",
    "Leases",
    "Lifetimes",
    "LockLost",
    "LockTimeout",
    "MergeRules",
    "MetricsConfig",
    "OwnerPermission",
    "PrincipalIndex",
    "Quarantine",
    "Record",
    "RefreshConfig",
    "RefreshQueue",
    "Refresher",
    "Refusal",
    "RetryMiddleware",
    "RunAgain",
    "Session",
    "SessionConflict",
    "SessionCookie",
    "SessionError",
    "SessionExists",
    "SessionGone",
    "SessionIteration",
    "SessionLocks",
    "SessionManager",
    "SessionMiddleware",
    "SessionStore",
    "SessionTooLarge",
    "Sessions",
    "SqlVersions",
    "Stack",
    "StaleValue",
    "StoreUnavailable",
    "StoredSession",
    "TenantPermission",
    "TooManySessions",
    "TooManyWaiting",
    "Transaction",
    "UnserializableValue",
    "VersionConfig",
    "VersionConflict",
    "VersionMiddleware",
    "VersionPolicy",
    "VersionStamps",
    "VersionTable",
    "WriteInDoubt",
    "backend_status",
    "build",
    "bump_version",
    "check",
    "clear_stale_contexts",
    "create_version_table",
    "delete_expired",
    "exclusive",
    "explain_context",
    "forget_context",
    "from_env",
    "get_session",
    "migrate_schema",
    "open_backend",
    "open_sessions",
    "open_sql",
    "rebuild_index",
    "refusal_of",
    "select_context",
]
