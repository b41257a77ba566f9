"""The settings of the store: its place, the names of its keys, and the way it is used."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import quote

from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.settings import kinds
from wsgi_sessions.settings.declaration import Fallback, Setting
from wsgi_sessions.settings.kinds import MINUTE
from wsgi_sessions.stack.declared.familiar import DATABASE_SWITCH, REDIS_SWITCH
from wsgi_sessions.stores.file.disk.system import Fsync
from wsgi_sessions.stores.urls import SqlSchema

if TYPE_CHECKING:
    from collections.abc import Mapping

APPLICATION = "WSGI_SESSIONS_APPLICATION"
DERIVED = "from "
"""The prefix of the source of an application's derived name."""


def _state_url(environ: Mapping[str, str]) -> str:
    """Return a folder for the file store (XDG Base Directory Specification), and in it one for the
    application, if it has a name."""
    state, home = environ.get("XDG_STATE_HOME", ""), environ.get("HOME", "")
    if not os.path.isabs(state):
        if not os.path.isabs(home):
            raise ConfigurationError(
                "WSGI_SESSIONS_URL is not set, and HOME is not set to put a file store in: set "
                f"it to {kinds.URL.allowed}"
            )
        state = os.path.join(home, ".local", "state")
    application = environ.get(APPLICATION, "").strip()
    place = ("wsgi_sessions", "applications", application) if application else ("wsgi_sessions",)
    try:
        return "file://" + quote(os.fsencode(os.path.join(state, *place)))
    except UnicodeEncodeError:
        raise ConfigurationError(
            f"HOME or XDG_STATE_HOME={state!a}: is not a valid file name"
        ) from None


URL = Setting[Any](
    "WSGI_SESSIONS_URL",
    kinds.URLS,
    "where sessions are stored; of several, in the first that is healthy at the start",
    default="",
    computed=_state_url,
    default_text="a folder of the application's own under the user's state directory",
    fallbacks=(
        Fallback(
            "REDIS_URL",
            kinds.URL,
            when=REDIS_SWITCH,
            otherwise="redis://localhost:6379/0",
        ),
        Fallback("DATABASE_URL", kinds.URL, unless=DATABASE_SWITCH),
    ),
    join=lambda urls: " ".join(dict.fromkeys(urls)),
)
MIGRATE_FROM = Setting[Any](
    "WSGI_SESSIONS_MIGRATE_FROM",
    kinds.or_off(kinds.URL),
    "the previous store: its sessions are taken over, each at its next use",
    None,
)
KEY_PREFIX = Setting[Any](
    "WSGI_SESSIONS_KEY_PREFIX",
    kinds.KEY_PREFIX,
    "the prefix of keys in a shared store, before the application's name",
    "session:",
)
FSYNC = Setting[Any](
    "WSGI_SESSIONS_FSYNC",
    kinds.choice(get_args(Fsync)),
    "what the file store flushes to disk on each commit, against power loss",
    "none",
)
FOLDER_GROUP = Setting[Any](
    "WSGI_SESSIONS_FOLDER_GROUP",
    kinds.PRINTABLE,
    "a group (name or number) whose members may write to the file store's folder",
    None,
    default_text="not set: only its user may",
)
SQL_SCHEMA = Setting[Any](
    "WSGI_SESSIONS_SQL_SCHEMA",
    kinds.choice(get_args(SqlSchema)),
    "whether a SQL store requires its tables, or creates and upgrades them on first use",
    "require",
)
TIMEOUT = Setting[Any](
    "WSGI_SESSIONS_TIMEOUT",
    kinds.duration(0.01, MINUTE, "1 (second), 500ms or 2s"),
    "how long a store call may take in total, before the answer is 503",
    1.0,
)
CHOICE_FOLDER = Setting[Any](
    "WSGI_SESSIONS_CHOICE_FOLDER",
    kinds.FOLDER,
    "where the processes of this user agree on one of several stores",
    None,
    default_text="`wsgi_sessions-UID` in the system's temporary folder",
)
APPLICATION_NAME = Setting[Any](
    APPLICATION,
    kinds.APPLICATION,
    "the application's name: applications with one name share sessions, others never do",
    None,
    default_text="derived from the place of its code",
)
