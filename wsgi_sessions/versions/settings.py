"""The settings of version stamps."""

from __future__ import annotations

import re
from dataclasses import dataclass

from wsgi_sessions import texts
from wsgi_sessions.settings import kinds
from wsgi_sessions.settings.declaration import setting

OWN_TABLE = "wsgi_sessions_versions"
_SCOPE = kinds.matching(
    re.compile(r"[!-+\--~]{1,200}"),
    "a name such as global, or a template with session keys in braces such as league:{league_id}",
)
_TABLE = kinds.matching(
    re.compile(r"(?:[A-Za-z_][A-Za-z0-9_]{0,62}\.)?[A-Za-z_][A-Za-z0-9_]{0,62}"),
    "a plain table name, with its schema if need be",
)
_URL = kinds.or_unset(kinds.URL)
_LOGIN_URL = kinds.matching(
    re.compile(r"https?://[!\"$-\[\]-~]+|/(?!/)[!\"$-\[\]-~]*"),
    "a path such as /login, or a URL that begins with https://, without a fragment",
)


@texts.shows(
    *(
        "scopes",
        "rights",
        "grace",
        "required",
        "refresh",
        "validate",
        "table",
        "max_age",
        "login_url",
    )
)
@dataclass(frozen=True)
class VersionConfig:
    """The settings of version stamps: scopes, their source, and the hooks that rebuild a session.

    `refresh` and `validate` name hooks. `url` None: the sessions' own store. Times are in seconds.
    """

    scopes: tuple[str, ...] = setting(
        "WSGI_SESSIONS_VERSION_SCOPES",
        kinds.several(_SCOPE),
        "versions that the data of a session depends on: a bump of one makes it stale",
        (),
        default_text="off; global, if rights, required keys, a refresh or a validation is set",
    )
    rights: tuple[str, ...] = setting(
        "WSGI_SESSIONS_VERSION_RIGHTS",
        kinds.several(_SCOPE),
        "versions (of these or others) that stand for rights: a bump takes effect at once",
        (),
    )
    grace: float = setting(
        "WSGI_SESSIONS_VERSION_GRACE",
        kinds.duration(0, kinds.DAY, "60 (seconds), 0 or 5m"),
        "how long after any other bump a stale session serves scripts and the like; then 401",
        60.0,
    )
    required: tuple[str, ...] = setting(
        "WSGI_SESSIONS_VERSION_REQUIRED",
        kinds.several(kinds.PRINTABLE),
        "session keys without which the session of a logged-in user is stale",
        (),
    )
    refresh: str | None = setting(
        "WSGI_SESSIONS_VERSION_REFRESH",
        kinds.HOOK,
        "rebuilds the data of a stale session, at the next page load",
        None,
    )
    validate: str | None = setting(
        "WSGI_SESSIONS_VERSION_VALIDATE",
        kinds.HOOK,
        "decides whether the objects that a session refers to still exist",
        None,
    )
    url: str | None = setting(
        "WSGI_SESSIONS_VERSION_URL",
        _URL,
        "where versions are kept: a session store, or a database such as postgresql://host/db",
        None,
        default_text="where the sessions are",
    )
    table: str = setting(
        "WSGI_SESSIONS_VERSION_TABLE",
        _TABLE,
        "the table of versions: that of this package, system_settings, or another with the same "
        "columns",
        OWN_TABLE,
    )
    max_age: float = setting(
        "WSGI_SESSIONS_VERSION_MAX_AGE",
        kinds.duration(0, kinds.HOUR, "1 (second), 500ms or 10s; 0: always ask"),
        "the maximum age of a worker's copy of the current versions",
        1.0,
    )
    login_url: str | None = setting(
        "WSGI_SESSIONS_LOGIN_URL",
        _LOGIN_URL,
        "the log-in page for users whose session could not be rebuilt; not set: they get 401",
        None,
    )

    @property
    def is_on(self) -> bool:
        """Whether anything here asks for sessions to be kept fresh."""
        return bool(self.scopes or self.rights or self.required or self.refresh or self.validate)
