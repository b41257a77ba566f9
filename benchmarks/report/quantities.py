"""Quantities for people."""

from __future__ import annotations

import math

KIB, MIB, GIB, TIB = 2**10, 2**20, 2**30, 2**40
MINUTE, HOUR, DAY = 60, 3600, 86400


def in_bytes(value: float) -> str:
    """A number of bytes, three digits."""
    for size, unit in ((TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if value >= size:
            return f"{three(value / size)} {unit}"
    return f"{value:.0f} bytes"


def in_time(seconds: float) -> str:
    """A time, three digits."""
    for size, unit in ((DAY, "days"), (HOUR, "h"), (MINUTE, "min"), (1, "s")):
        if seconds >= 2 * size or (size == HOUR and seconds == HOUR):
            return f"{three(seconds / size)} {unit}"
    return f"{three(seconds * 1000)} ms"


def three(value: float) -> str:
    """Three digits, no exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def roughly(value: float) -> str:
    """One significant digit."""
    digits = 10 ** math.floor(math.log10(value))
    return f"{int(value // digits * digits):,}"


def number(value: float) -> str:
    """Two digits at most of what is small, none after the point of others."""
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"
