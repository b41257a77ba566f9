"""Text packed by Django and itsdangerous: URL-safe base64, with a leading dot if compressed."""

from __future__ import annotations

import binascii
import zlib
from base64 import urlsafe_b64decode

from wsgi_sessions.errors import ImportRefused

MAX_BYTES = 64 * 1024 * 1024
"""The limit of unpacked bytes. The text is signed, but a mistake must not take all memory."""


def unpack(text: str) -> bytes:
    """Return the packed bytes. Raises ImportRefused."""
    compressed, body = text.startswith("."), text.removeprefix(".")
    try:
        data = urlsafe_b64decode(body + "=" * (-len(body) % 4))
        return inflate(data) if compressed else data
    except (binascii.Error, zlib.error, ValueError) as error:
        raise ImportRefused(f"it does not unpack ({type(error).__name__})") from None


def inflate(data: bytes) -> bytes:
    """Return the decompressed bytes. Raises ImportRefused if they are too many, and zlib.error."""
    inflater = zlib.decompressobj()
    inflated = inflater.decompress(data, MAX_BYTES)
    if inflater.unconsumed_tail:
        raise ImportRefused(f"it takes more than {MAX_BYTES} bytes")
    return inflated
