"""Pseudonyms of users: what a log shows in place of a principal."""

from __future__ import annotations

import hmac
import os

DIGITS = 10


class Pseudonyms:
    """A keyed hash of each principal, as 10 hexadecimal digits.

    One user has one pseudonym, in all workers and commands that have the same newest `secret`; it
    changes with the secret. Without a secret, each process has pseudonyms of its own.

    Not promised: that two users never share one (a few million users would).
    """

    def __init__(self, secret: str | bytes | None = None) -> None:
        if secret is None:
            secret = os.urandom(32)
        key = secret if isinstance(secret, bytes) else secret.encode("utf-8", "surrogatepass")
        # A key of its own, so that a pseudonym says nothing about signatures.
        self._key = hmac.digest(key, b"wsgi_sessions.pseudonym.v1", "sha256")

    def of(self, principal: str | int | None) -> str | None:
        """Return the pseudonym of a principal; None if there is none. 7 and "7" are one user."""
        if principal is None:
            return None
        text = str(principal).encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, text, "sha256").hex()[:DIGITS]
