"""Session ids: generation, signing, verification, and the store key.

The id is 240 bits of `secrets` and means nothing. The browser holds ``<id>.<signature>``; the store
holds the SHA-256 of the id, so that a leaked store gives no cookie (CVE-2019-16782).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from typing import TYPE_CHECKING, NamedTuple

from itsdangerous import Signer
from itsdangerous.encoding import base64_encode

from wsgi_sessions import texts
from wsgi_sessions.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

SALT = b"wsgi_sessions.cookie.v1"
MIN_SECRET_BYTES = 32
_ID_BYTES = 30  # 40 characters: as long as the column of Django and of its packages for a key
_ID = re.compile(r"[A-Za-z0-9_-]{40}", re.ASCII)
_SIGNED_LENGTH = 40 + 1 + 43


def new_id() -> str:
    """Return a fresh session id: 40 URL-safe characters, 240 bits."""
    return secrets.token_urlsafe(_ID_BYTES)


def is_id(text: str) -> bool:
    """Return whether a text has the form of a session id; only the store knows if it is one."""
    return _ID.fullmatch(text) is not None


def derived_id(*parts: str) -> str:
    """Return the session id that belongs to these texts: always the same, and no other texts' id.

    Its entropy is that of the texts. That is enough for a cookie, since the cookie is signed: an
    attacker who knows the texts still lacks the secret. No secret goes into the id, so that workers
    agree on it while secrets are rotated; it would add nothing, since anyone with the secret and
    the texts has the id.
    """
    digest = hashlib.sha256(b"".join(_framed(part) for part in ("derived id", *parts))).digest()
    return base64.urlsafe_b64encode(digest[:_ID_BYTES]).decode("ascii")


def _framed(part: str) -> bytes:
    data = part.encode("utf-8", "surrogatepass")
    return len(data).to_bytes(8, "big") + data


def new_secret() -> str:
    """Return a fresh signing secret: 64 characters, safe in an environment variable."""
    return secrets.token_urlsafe(48)


def store_key(session_id: str) -> str:
    """Return the key of an id in the store: SHA-256 in hex, 64 characters."""
    return hashlib.sha256(session_id.encode("ascii")).hexdigest()


def short_key(key: str) -> str:
    """Return the part of a store key for logs: enough to find it, too little to use it."""
    return key[:10]


@texts.shows("is_current")
class Verified(NamedTuple):
    """An id whose signature is good, and whether the newest secret made the signature."""

    session_id: str
    is_current: bool


class IdSigner:
    """Signs and verifies session ids with itsdangerous; rotation works by a list of secrets.

    An id that is signed for one `application` does not verify for another, even with the same
    secret.

    Args:
        secrets: at least one, newest last, each of 32 bytes or more. The newest signs; all verify;
            an id that was signed with a retired one (left out of the list) is refused.
        application: the name that ids are signed for; None for ids without a name.
        accepts_unnamed: with a name, verify ids that were signed without one too; they are signed
            again.

    Raises:
        ConfigurationError: no secret, a short one, or the same one twice.
    """

    def __init__(
        self,
        secrets: Sequence[str | bytes],
        application: str | None = None,
        *,
        accepts_unnamed: bool = False,
    ) -> None:
        keys = [_as_bytes(secret) for secret in secrets]
        if not keys:
            raise ConfigurationError("no secret key: set `secret_keys`")
        if any(len(key) < MIN_SECRET_BYTES for key in keys):
            raise ConfigurationError(
                f"a secret key is shorter than {MIN_SECRET_BYTES} bytes: "
                "make one with 'wsgi-sessions keygen'"
            )
        if len(set(keys)) < len(keys):
            raise ConfigurationError("a secret key is given twice: list each one once")
        salts = [SALT] if application is None else [b"@".join([SALT, application.encode()])]
        if accepts_unnamed and application is not None:
            salts.append(SALT)
        self._signers = [_CanonicalSigner(key, salt) for salt in salts for key in reversed(keys)]

    def sign(self, session_id: str) -> str:
        """Return the cookie value of an id, signed with the newest secret."""
        return f"{session_id}.{self._signers[0].signature(session_id)}"

    def verify(self, value: str) -> str | None:
        """Return the id in a cookie value, or None. Never raises.

        The length is checked before any HMAC.
        """
        found = self.examine(value)
        return found and found.session_id

    def examine(self, value: str) -> Verified | None:
        """Like `verify`, and whether the newest secret signed it; otherwise sign it again."""
        if len(value) != _SIGNED_LENGTH or value[40] != "." or not value.isascii():
            return None
        session_id, signature = value[:40], value[41:]
        if not _ID.fullmatch(session_id):
            return None
        for age, signer in enumerate(self._signers):
            if hmac.compare_digest(signature, signer.signature(session_id)):
                return Verified(session_id, is_current=age == 0)
        return None


class BareIds:
    """A stand-in for `IdSigner`, for frameworks whose cookie holds the id as it is, unsigned.

    An id has 240 random bits and cannot be guessed; but each made-up id costs a store call.
    """

    def sign(self, session_id: str) -> str:
        """Return the cookie value of an id."""
        return session_id

    def examine(self, value: str) -> Verified | None:
        """Return the id in a cookie value, if it has the form of one."""
        return Verified(value, is_current=True) if is_id(value) else None


def _as_bytes(secret: str | bytes) -> bytes:
    if isinstance(secret, bytes):
        return secret
    try:
        return secret.encode()
    except UnicodeEncodeError:
        # Not chained: that error holds the secret.
        raise ConfigurationError("a secret key is not valid text: make it printable") from None


class _CanonicalSigner:
    """A signer with one secret that accepts only the canonical spelling of a signature.

    Base64 has several spellings for one signature, and `Signer.unsign` takes them all. This one
    signs again and compares.
    """

    def __init__(self, secret: bytes, salt: bytes) -> None:
        # itsdangerous derives this key for every cookie: here it is done once.
        self._key = Signer(
            secret, salt=salt, key_derivation="hmac", digest_method=hashlib.sha256
        ).derive_key()

    def signature(self, session_id: str) -> str:
        """Same as `Signer.get_signature`, in half its time: every request pays for it."""
        digest = hmac.digest(self._key, session_id.encode("ascii"), "sha256")
        return base64_encode(digest).decode("ascii")
