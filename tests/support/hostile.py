"""Text that a client may have chosen to do harm."""

from __future__ import annotations

HOSTILE = "x\r\nroot logged in\x1b[2J\x7f\x9b31m\u202egpj\u2028\ud800" + "y" * 200_000


def assert_harmless(text: str, limit: int) -> None:
    assert all(line.isprintable() for line in text.split("\n"))
    assert len(text) <= limit
