"""Keys that sort by time: items of a dictionary that overlapping requests add to and take from."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_DIGITS = 20


def timed_key(others: Iterable[str]) -> str:
    """Return a key that no other request makes, and that sorts behind the `others`.

    A list in a session merges where requests append to it, and conflicts where one of them takes
    something out. A dictionary of such keys merges in both cases.
    """
    now = max([f"{time.time_ns():0{_DIGITS}d}", *map(_next, others)])
    return f"{now}-{secrets.token_hex(4)}"


def _next(key: str) -> str:
    return f"{int(key[:_DIGITS]) + 1:0{_DIGITS}d}"
