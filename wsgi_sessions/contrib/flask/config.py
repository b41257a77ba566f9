"""A `Config` from a Flask application's configuration and the environment. Imports no Flask.

The first of these counts for each setting:

1. its own name (``WSGI_SESSIONS_…``) in ``app.config``;
2. the same name in the environment;
3. Flask's name for it in ``app.config`` (``SECRET_KEY``, ``SESSION_COOKIE_…``,
   ``PERMANENT_SESSION_LIFETIME``), where Flask's default says nothing;
4. the familiar variable of the environment (``USE_REDIS_SESSIONS`` with ``REDIS_URL``), but never
   ``SECRET_KEY`` and ``PERMANENT_SESSION_LIFETIME``: those belong to the application.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from wsgi_sessions import texts
from wsgi_sessions.contrib.flask.leftovers import leftovers
from wsgi_sessions.contrib.given import as_text
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.identity import MIN_SECRET_BYTES
from wsgi_sessions.stack.applications import config_named
from wsgi_sessions.stack.config import SETTINGS, Config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from wsgi_sessions.stack.applications import Application

    AppConfig = Mapping[str, Any]

PRINCIPAL_KEY = "_user_id"
"""The key of the user in Flask-Login."""
LOGIN_KEYS = ("user_id", "_user_id", "username", "uid", "user", "account_id")
"""Common keys of the user in applications."""
CONFIRMING_KEYS = ("_fresh",)
"""The key that Flask-Login sets to True after the user enters the password, also again."""
REMEMBER_COOKIE = "remember_token"
"""The cookie by which Flask-Login logs a user in again, unless REMEMBER_COOKIE_NAME is set."""
_SECRETS = SETTINGS["secret_keys"].variables()
_ABSOLUTE = SETTINGS["absolute_lifetime"]
_OURS = re.compile(r"WSGI_?SESSION", re.IGNORECASE)  # misspelt ones too, for a remark
_NOT_FROM_ENVIRON = ("SECRET_KEY", "PERMANENT_SESSION_LIFETIME")
_COOKIE: Mapping[str, tuple[str, Callable[[Any], object]]] = {
    "SESSION_COOKIE_NAME": ("WSGI_SESSIONS_COOKIE_NAME", lambda name: name),
    "SESSION_COOKIE_DOMAIN": ("WSGI_SESSIONS_COOKIE_DOMAIN", lambda domain: domain or None),
    "SESSION_COOKIE_PATH": ("WSGI_SESSIONS_COOKIE_PATH", lambda path: path or None),
    "SESSION_COOKIE_SAMESITE": ("WSGI_SESSIONS_COOKIE_SAMESITE", lambda value: value),
    # Flask's default, False, never sets Secure; ours sets it on https.
    "SESSION_COOKIE_SECURE": ("WSGI_SESSIONS_COOKIE_SECURE", lambda on: "always" if on else None),
    "SESSION_COOKIE_PARTITIONED": ("WSGI_SESSIONS_COOKIE_PARTITIONED", lambda on: on or None),
}
_FORMER: Mapping[str, tuple[str, ...]] = {
    "flask-session": ("cookie",),
    "flask-cookie": ("cookie", "max_age"),
}
_MOST_SECONDS = 400 * 24 * 3600  # the most that browsers keep a cookie
_CHANGEABLE = (
    *_COOKIE,
    "APPLICATION_ROOT",
    "SESSION_COOKIE_HTTPONLY",
    "PERMANENT_SESSION_LIFETIME",
    "SECRET_KEY",
)


def changeable(app_config: AppConfig) -> tuple[object, ...]:
    """Return the settings that a Flask application may change at any time, to compare them on each
    request."""
    fallbacks = app_config.get("SECRET_KEY_FALLBACKS")
    return (fallbacks and tuple(fallbacks), *map(app_config.get, _CHANGEABLE))


def lifetime_of(app_config: AppConfig) -> float:
    """Return PERMANENT_SESSION_LIFETIME in seconds. Raises ConfigurationError."""
    value = app_config["PERMANENT_SESSION_LIFETIME"]
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    raise ConfigurationError(
        f"PERMANENT_SESSION_LIFETIME={value!a}: must be a timedelta, or seconds"
    )


def config_of(
    app_config: AppConfig, environ: Mapping[str, str], application: Application | None = None
) -> Config:
    """Return the configuration of an application, with this name unless a setting has one. Without
    any secret, its `secret_keys` are empty.

    Raises ConfigurationError.
    """
    given = _own_settings(app_config, environ)
    has_own_secret = any(name in given for name in _SECRETS)
    try:
        variables = {**_translated(app_config), **given}
        config = (
            config_named(variables, application) if application else Config.from_environ(variables)
        )
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}{_hint(app_config, given)}") from None
    config = replace(config, remarks=(*config.remarks, *leftovers(app_config, given)))
    imports = replace(config.imports, source=_source(config.imports.source, app_config))
    if not imports.secret_keys:
        imports = replace(imports, secret_keys=_former_secrets(app_config))
    config = replace(config, imports=imports)
    remembered = app_config.get("REMEMBER_COOKIE_NAME", REMEMBER_COOKIE)
    config = replace(config, confirming_keys=CONFIRMING_KEYS, login_cookies=(remembered,))
    if app_config.get("SESSION_COOKIE_HTTPONLY") is False:
        config = replace(config, cookie=replace(config.cookie, httponly=False))
    if has_own_secret or not app_config.get("SECRET_KEY"):
        return config
    secrets = secrets_of(app_config["SECRET_KEY"], app_config.get("SECRET_KEY_FALLBACKS"))
    sources = {**config.sources, _SECRETS[0]: "SECRET_KEY"}
    return replace(config, secret_keys=secrets, sources=sources)


def secrets_of(current: str | bytes, fallbacks: Iterable[str | bytes] | None) -> tuple[str, ...]:
    """Return Flask's keys in the order of this package: the newest last. Raises ConfigurationError.

    Flask lists the latest fallback first. Fallbacks that are too short are left out: they never
    signed a cookie of this package, so that no user is logged out.
    """
    if len(_as_bytes(current)) < MIN_SECRET_BYTES:
        raise ConfigurationError(
            f"SECRET_KEY: a session cookie needs a secret of {MIN_SECRET_BYTES} bytes or more. "
            f"Set {_SECRETS[0]}, in app.config or the environment, to a key made by "
            "'wsgi-sessions keygen': SECRET_KEY may then stay as it is, for other signatures"
        )
    if isinstance(fallbacks, (str, bytes)):
        raise ConfigurationError("SECRET_KEY_FALLBACKS: must be a list of former keys")
    former = [key for key in fallbacks or () if len(_as_bytes(key)) >= MIN_SECRET_BYTES]
    newest_first = dict.fromkeys([_as_text(current), *map(_as_text, former)])
    return tuple(reversed(newest_first))


def _source(url: str | None, app_config: AppConfig) -> str | None:
    """Return the source of sessions of Flask or Flask-Session to import: options of their cookie
    that the URL lacks come from the application. Flask accepts no cookie older than its lifetime.
    """
    library = (url or "").partition("://")[0].partition("+")[0]
    if url is None or library not in _FORMER:
        return url
    oldest = max(1, min(int(lifetime_of(app_config)), _MOST_SECONDS))
    values = {"cookie": app_config["SESSION_COOKIE_NAME"], "max_age": str(oldest)}
    base, _, query = url.partition("?")
    parts = [part for part in query.split("&") if part]
    named = {part.partition("=")[0] for part in parts}
    missing = (name for name in _FORMER[library] if name not in named)
    parts += [f"{name}={quote(values[name], safe='')}" for name in missing]
    return f"{base}?{'&'.join(parts)}"


def _former_secrets(app_config: AppConfig) -> tuple[str, ...]:
    """Return the former keys of the application, however short."""
    keys = [*(app_config.get("SECRET_KEY_FALLBACKS") or ()), app_config.get("SECRET_KEY")]
    return tuple(_as_bytes(key).decode("utf-8", "surrogateescape") for key in keys if key)


def _own_settings(app_config: AppConfig, environ: Mapping[str, str]) -> dict[str, str]:
    """Return settings by this package's own names, and familiar ones of the environment."""
    ours = {
        name: as_text(name, value)
        for name, value in app_config.items()
        if _OURS.match(name) and value is not None
    }
    hidden = {*_NOT_FROM_ENVIRON, *(_SECRETS if any(name in ours for name in _SECRETS) else ())}
    return {**{name: environ[name] for name in environ if name not in hidden}, **ours}


def _translated(app_config: AppConfig) -> dict[str, str]:
    """Return the values of Flask's own names under the names of this package."""
    made = {
        ours: as_text(name, value)
        for name, (ours, translate) in _COOKIE.items()
        if (value := translate(app_config.get(name))) is not None
    }
    made.setdefault("WSGI_SESSIONS_COOKIE_PATH", app_config.get("APPLICATION_ROOT") or "/")
    made["WSGI_SESSIONS_PRINCIPAL_KEY"] = PRINCIPAL_KEY
    made["WSGI_SESSIONS_LOGIN_KEYS"] = ",".join(LOGIN_KEYS)
    lifetime = lifetime_of(app_config)
    made["PERMANENT_SESSION_LIFETIME"] = f"{lifetime:.3f}"
    if lifetime > _ABSOLUTE.default:
        made[_ABSOLUTE.env] = made["PERMANENT_SESSION_LIFETIME"]
    return made


def _hint(app_config: AppConfig, given: Mapping[str, str]) -> str:
    """Return a hint for errors that names the settings of Flask, if any is set."""
    pairs = [
        f"{ours} is {name} of the Flask application"
        for name, (ours, translate) in _COOKIE.items()
        if ours not in given and translate(app_config.get(name)) not in (None, "session")
    ]
    return f" ({'; '.join(pairs)})" if pairs else ""


def _as_bytes(key: str | bytes) -> bytes:
    return key if isinstance(key, bytes) else texts.as_bytes(key)


def _as_text(key: str | bytes) -> str:
    """Return bytes as text, or else as hex: the same key always gives the same secret."""
    if isinstance(key, str):
        return key
    try:
        return key.decode()
    except UnicodeDecodeError:
        return key.hex()
