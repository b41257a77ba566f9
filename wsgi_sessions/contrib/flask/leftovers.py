"""Remaining settings of Flask-Session in an application, and their replacements.

They have no effect. An application that names its store only in them starts on files, and all users
are logged out.
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
    "new sessions end with the browser because SESSION_PERMANENT is not set: with Flask-Session "
    "they outlive it unless that is False"
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
    "SESSION_SQLALCHEMY_TABLE": f"{_NOTHING}: 'wsgi-sessions migrate-schema' creates the tables",
    "SESSION_USE_SIGNER": f"{_NOTHING}: cookies are signed; for old sessions ?signer=on in {_FROM}",
    "SESSION_ID_LENGTH": f"{_NOTHING}: ids have 240 bits",
    "SESSION_SERIALIZATION_FORMAT": _NOTHING,
    "SESSION_CLEANUP_N_REQUESTS": "WSGI_SESSIONS_SWEEP_INTERVAL",
}
_OTHER_STORES = ("SESSION_MEMCACHED", "SESSION_MONGODB", "SESSION_DYNAMODB", "SESSION_SQLALCHEMY_")


def leftovers(app_config: Mapping[str, Any], given: Mapping[str, str]) -> list[str]:
    """Return a sentence for each such setting and its replacement, without passwords.

    `given` are this package's own settings, including those of the environment.
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
            f"the store of Flask-Session is not used, and its users are logged out unless {_URL} "
            f"names a store, and {_FROM} (with WSGI_SESSIONS_IMPORT_UNTIL) the former one"
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
    """Return the URL of a redis-py client, without its password."""
    options = getattr(getattr(client, "connection_pool", None), "connection_kwargs", None)
    if not isinstance(options, dict) or "host" not in options:
        return None
    secret = "***@" if options.get("password") else ""
    url = f"redis://{secret}{options['host']}:{options.get('port', 6379)}/{options.get('db', 0)}"
    return url if not secret else hide_credentials(url)
