"""Cookies of WebOb's SignedSerializer: URL-safe base64 of a SHA-512 HMAC and the content."""

from __future__ import annotations

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_DIGEST_SIZE = 64


def unsigner(salt: bytes, secrets: Sequence[bytes]) -> Callable[[str], bytes | None]:
    """Return a function to the content of a cookie signed with one of these secrets, or None."""
    keys = [salt + _as_webob_has_it(secret) for secret in secrets]

    def unsign(value: str) -> bytes | None:
        try:
            signed = urlsafe_b64decode(value.encode("ascii") + b"=" * (-len(value) % 4))
        except (ValueError, binascii.Error):
            return None
        if urlsafe_b64encode(signed).rstrip(b"=") != value.encode("ascii"):
            return None  # one value has one spelling
        signature, content = signed[:_DIGEST_SIZE], signed[_DIGEST_SIZE:]
        return content if any(_is_signed(key, signature, content) for key in keys) else None

    return unsign


def _is_signed(key: bytes, signature: bytes, content: bytes) -> bool:
    return hmac.compare_digest(signature, hmac.digest(key, content, "sha512"))


def _as_webob_has_it(secret: bytes) -> bytes:
    try:
        return secret.decode("utf-8").encode("latin-1")
    except UnicodeError:
        return secret
