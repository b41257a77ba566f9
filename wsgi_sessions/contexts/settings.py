"""The settings of contexts, and the rules between them."""

# ruff: noqa: RUF009 - `setting` returns a dataclasses.field, which is what belongs there

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.settings import kinds
from wsgi_sessions.settings.declaration import Fallback, setting

Remembering = Literal["set", "selected"]
"""The values that come back: all that the application sets, or those that it selects."""


@dataclass(frozen=True)
class ContextConfig:
    """The settings of contexts: which keys of the session they are, and the hooks that decide.

    `permission`, `tenant`, `load` and `store` name hooks: `permission` one for each key, in their
    order. Raises ConfigurationError for settings that contradict each other.
    """

    key: tuple[str, ...] = setting(
        "WSGI_SESSIONS_CONTEXT_KEY",
        kinds.several(kinds.PRINTABLE),
        "session keys whose last value is restored to a user after the session was lost",
        (),
    )
    permission: tuple[str, ...] = setting(
        "WSGI_SESSIONS_CONTEXT_PERMISSION",
        kinds.several(kinds.HOOK),
        "one function per key, which decides whether the user may (still) access the context",
        (),
    )
    enabled: bool = setting(
        "WSGI_SESSIONS_CONTEXT_ENABLED",
        kinds.SWITCH,
        "whether contexts are restored; they are remembered in any case",
        default=True,
        fallbacks=(Fallback("AUTO_RESTORE_ENABLED", kinds.SWITCH),),
    )
    remember: Remembering = setting(
        "WSGI_SESSIONS_CONTEXT_REMEMBER",
        kinds.choice(get_args(Remembering)),
        "which contexts are remembered: all that the application sets, or only those of "
        "select_context",
        "set",
    )
    tenancy: bool | None = setting(
        "WSGI_SESSIONS_CONTEXT_TENANCY",
        kinds.SWITCH,
        "whether a context must also belong to the user's tenant",
        None,
        default_text="on, if the next one is set",
        fallbacks=(Fallback("USE_MULTI_TENANCY", kinds.SWITCH),),
    )
    tenant: str | None = setting(
        "WSGI_SESSIONS_CONTEXT_TENANT",
        kinds.HOOK,
        "a function that decides whether it does",
        None,
    )
    load: str | None = setting(
        "WSGI_SESSIONS_CONTEXT_LOAD",
        kinds.HOOK,
        "a function that returns the last context, if the application a function that remembers "
        "it itself",
        None,
    )
    store: str | None = setting(
        "WSGI_SESSIONS_CONTEXT_STORE",
        kinds.HOOK,
        "a function that remembers it",
        None,
    )
    audit: bool = setting(
        "WSGI_SESSIONS_CONTEXT_AUDIT",
        kinds.SWITCH,
        "whether selections and restores are logged to wsgi_sessions.contexts.audit",
        default=False,
        fallbacks=(Fallback("USE_AUDIT_LOGGING", kinds.SWITCH),),
    )

    def __post_init__(self) -> None:
        if len(set(self.key)) < len(self.key):
            raise ConfigurationError("`context.key`: names a key twice")
        if self.permission and len(self.permission) != len(self.key):
            raise ConfigurationError(
                f"`context.permission`: has {len(self.permission)} functions for {len(self.key)} "
                "keys in `context.key`: give one for each, in order"
            )
        if (self.load is None) != (self.store is None):
            raise ConfigurationError(
                "`context.load` and `context.store`: set both, to keep contexts in a table of the "
                "application's own, or neither"
            )
