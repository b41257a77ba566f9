"""The secrets that sign cookies and make pseudonyms: from the settings or the file store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.errors import ConfigurationError

if TYPE_CHECKING:
    from wsgi_sessions.contract import Backend
    from wsgi_sessions.stack.config import Config


def secrets_of(config: Config, backend: Backend) -> tuple[str, ...]:
    """Return the secrets that a server signs with, newest last; a file store makes one.

    Raises ConfigurationError if there is no secret, and StoreUnavailable.
    """
    if config.secret_keys:
        return config.secret_keys
    if backend.secret is not None:
        return (backend.secret.secret(),)
    raise ConfigurationError(
        "WSGI_SESSIONS_SECRET_KEYS is not set: sessions outside a file store, and sessions that "
        "are taken over, need a secret that all workers share; make one with 'wsgi-sessions "
        "keygen', or set WSGI_SESSIONS_SECRET_KEYS_FILE to the file 'secret' in the folder of "
        "the previous file store"
    )


def kept_secrets(config: Config, backend: Backend) -> tuple[str, ...]:
    """Return the same secrets without making one. Raises as `secrets_of` does."""
    if config.secret_keys or backend.secret is None:
        return secrets_of(config, backend)
    kept = backend.secret.kept()
    if kept is None:
        raise ConfigurationError(
            "no server has made a secret in this store yet: name the store of the application "
            "with --url or WSGI_SESSIONS_URL"
        )
    return (kept,)
