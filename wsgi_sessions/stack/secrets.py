"""The secrets that sign cookies and make pseudonyms: the settings', or the file store's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.errors import ConfigurationError

if TYPE_CHECKING:
    from wsgi_sessions.contract import Backend
    from wsgi_sessions.stack.config import Config


def secrets_of(config: Config, backend: Backend) -> tuple[str, ...]:
    """The secrets that a server signs with, the newest last; a file store makes one.

    Raises ConfigurationError if there is none, StoreUnavailable.
    """
    if config.secret_keys:
        return config.secret_keys
    if backend.secret is not None:
        return (backend.secret.secret(),)
    raise ConfigurationError(
        "WSGI_SESSIONS_SECRET_KEYS is not set: sessions outside of a file store need a secret that "
        "all workers share, and so do those that are taken over; make one with 'wsgi-sessions "
        "keygen', or name the file 'secret' in the folder of the file store that was used before "
        "in WSGI_SESSIONS_SECRET_KEYS_FILE"
    )


def kept_secrets(config: Config, backend: Backend) -> tuple[str, ...]:
    """The same, to look only: nothing is made. Raises as `secrets_of` does."""
    if config.secret_keys or backend.secret is None:
        return secrets_of(config, backend)
    kept = backend.secret.kept()
    if kept is None:
        raise ConfigurationError(
            "no server has made a secret in this store yet: name the store that the application "
            "uses with --url or WSGI_SESSIONS_URL"
        )
    return (kept,)
