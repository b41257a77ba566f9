"""Settings of Flask-Session that an application still has, and what replaces each.

They have no effect. An application that still names its store in them alone starts on files, and
every user is logged out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsgi_sessions.settings.kinds import hide_credentials

if TYPE_CHECKING:
    from collections.abc import Mapping

_URL = "WSGI_SESSIONS_URL"
_FROM = "WSGI_SESSIONS_IMPORT_FROM"
_NOTHING = "nothing: leave it out"
_PERMANENT = (
    "new sessions end with the browser, since SESSION_PERMANENT is not set: with Flask-Session "
    "they outlive it unless it is False"
)
_REPLACED = {
    "SESSION_TYPE": f"{_URL}, by its scheme",
    "SESSION_REDIS": f"{_URL}=redis://host:6379/0",
    "SESSION_VALKEY": f"{_URL}=redis://host:6379/0",
    "SESSION_KEY_PREFIX": f"WSGI_SESSIONS_KEY_PREFIX; for old sessions ?prefix= in {_FROM}",
    "SESSION_FILE_DIR": f"{_URL}=file:///folder",
    "SESSION_FILE_THRESHOLD": f"{_NOTHING}: no live session is evicted",
    "SESSION_FILE_MODE": f"{_NOTHING}: files are private",
    "SESSION_CACHELIB": f"{_URL}",
    "SESSION_SQLALCHEMY": f"{_URL}=postgresql://host/database",
    "SESSION_SQLALCHEMY_TABLE": f"{_NOTHING}: 'wsgi-sessions migrate-schema' makes the tables",
    "SESSION_USE_SIGNER": f"{_NOTHING}: cookies are signed; for old sessions ?signer=on in {_FROM}",
    "SESSION_ID_LENGTH": f"{_NOTHING}: ids have 256 bits",
    "SESSION_SERIALIZATION_FORMAT": _NOTHING,
    "SESSION_CLEANUP_N_REQUESTS": "WSGI_SESSIONS_SWEEP_INTERVAL",
}
_OTHER_STORES = ("SESSION_MEMCACHED", "SESSION_MONGODB", "SESSION_DYNAMODB", "SESSION_SQLALCHEMY_")


def leftovers(app_config: Mapping[str, Any], given: Mapping[str, str]) -> list[str]:
    """A sentence for each such setting, with what replaces it. No password is in it.

    `given` are this package's own settings, from the environment too.
    """
    found = [name for name in app_config if name in _REPLACED or name.startswith(_OTHER_STORES)]
    told = [
        f"{name} of Flask-Session has no effect: it is replaced by {_replacement(name, value)}"
        for name in sorted(found)
        if (value := app_config[name]) is not None
    ]
    if told and app_config.get("SESSION_PERMANENT") is None:
        told.append(_PERMANENT)
    if told and _URL not in given:
        told.append(
            "Flask-Session's store is not used, and its users are logged out unless "
            f"{_URL} names a store here, and {_FROM} (with WSGI_SESSIONS_IMPORT_UNTIL) "
            "the one that it had"
        )
    return told


def _replacement(name: str, value: Any) -> str:
    replaced = _REPLACED.get(name, f"{_URL}: this store is not one of this package's")
    old = f"for old sessions {_FROM}=flask-session+"
    if name in ("SESSION_REDIS", "SESSION_VALKEY") and (address := _address_of(value)):
        return f"{_URL}={address}, and {old}{address}"
    if name == "SESSION_FILE_DIR" and isinstance(value, str):
        return f"{replaced}; {old}file://{value}"
    return replaced


def _address_of(client: Any) -> str | None:
    """The URL of a client of redis-py, without its password."""
    options = getattr(getattr(client, "connection_pool", None), "connection_kwargs", None)
    if not isinstance(options, dict) or "host" not in options:
        return None
    secret = "***@" if options.get("password") else ""
    url = f"redis://{secret}{options['host']}:{options.get('port', 6379)}/{options.get('db', 0)}"
    return url if not secret else hide_credentials(url)
