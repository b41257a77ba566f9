"""Session ids: generate, sign, verify, and the store key.

The id is 256 bits of `secrets` and means nothing. The browser holds ``<id>.<signature>``; the store
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
_ID = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_SIGNED_LENGTH = 43 + 1 + 43


def new_id() -> str:
    """A fresh session id: 43 URL-safe characters, 256 bits."""
    return secrets.token_urlsafe(32)


def derived_id(*parts: str) -> str:
    """The session id that belongs to these texts: always the same one, and no other texts' id.

    It has their entropy, no more. That is enough for a cookie, since it is signed: who knows the
    texts still lacks the secret. No secret goes into it, so that workers agree on it while secrets
    are rotated; it would add nothing, since one who has the secret and the texts has the id too.
    """
    digest = hashlib.sha256(b"".join(_framed(part) for part in ("derived id", *parts))).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def _framed(part: str) -> bytes:
    data = part.encode("utf-8", "surrogatepass")
    return len(data).to_bytes(8, "big") + data


def new_secret() -> str:
    """A fresh signing secret, fit for WSGI_SESSIONS_SECRET_KEYS."""
    return secrets.token_urlsafe(48)


def store_key(session_id: str) -> str:
    """The key of an id in the store: SHA-256 in hex, 64 characters."""
    return hashlib.sha256(session_id.encode("ascii")).hexdigest()


def short_key(key: str) -> str:
    """What may stand in a log: enough of a store key to find it, too little to use it."""
    return key[:10]


@texts.shows("is_current")
class Verified(NamedTuple):
    """An id whose signature was found good, and whether the newest secret made it."""

    session_id: str
    is_current: bool


class IdSigner:
    """Signs and verifies session ids with itsdangerous; rotation by a list of secrets.

    `secrets` has the newest last: that one signs, all of them verify, a retired one (left out) is
    refused. Each must have 32 bytes or more. What is signed for one `application` is nothing to
    another, though they have one secret; and what was signed for none is nothing to one with a
    name, unless it `accepts_unnamed`: that verifies too, and is to be re-signed.

    Raises `ConfigurationError` for no secret, a short one, or one given twice.
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
            raise ConfigurationError("no secret key: set WSGI_SESSIONS_SECRET_KEYS")
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
        """The cookie value of an id, signed with the newest secret."""
        return f"{session_id}.{self._signers[0].signature(session_id)}"

    def verify(self, value: str) -> str | None:
        """The id in a cookie value, or None. Never raises; length is checked before any HMAC."""
        found = self.examine(value)
        return found and found.session_id

    def examine(self, value: str) -> Verified | None:
        """As `verify`, and whether the newest secret signed it: if not, it is to be re-signed."""
        if len(value) != _SIGNED_LENGTH or value[43] != "." or not value.isascii():
            return None
        session_id, signature = value[:43], value[44:]
        if not _ID.fullmatch(session_id):
            return None
        for age, signer in enumerate(self._signers):
            if hmac.compare_digest(signature, signer.signature(session_id)):
                return Verified(session_id, is_current=age == 0)
        return None


def _as_bytes(secret: str | bytes) -> bytes:
    if isinstance(secret, bytes):
        return secret
    try:
        return secret.encode()
    except UnicodeEncodeError:
        # Not chained: that error holds the secret.
        raise ConfigurationError("a secret key is no valid text: make it printable") from None


class _CanonicalSigner:
    """One secret. Signing again and comparing accepts only the canonical spelling: base64 has
    several for one signature, and `Signer.unsign` takes them all."""

    def __init__(self, secret: bytes, salt: bytes) -> None:
        # itsdangerous derives the same key anew for every cookie: done once here.
        self._key = Signer(
            secret, salt=salt, key_derivation="hmac", digest_method=hashlib.sha256
        ).derive_key()

    def signature(self, session_id: str) -> str:
        """What `Signer.get_signature` gives, in half its time: it is paid by every request."""
        digest = hmac.digest(self._key, session_id.encode("ascii"), "sha256")
        return base64_encode(digest).decode("ascii")
