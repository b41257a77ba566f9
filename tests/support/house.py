"""The modules of the package, and the floors that they are on."""

from __future__ import annotations

from pathlib import Path

import wsgi_sessions

ROOT = Path(wsgi_sessions.__file__).parent


# From the bottom up; the rooms of one floor do not import each other. "" is the package itself.
FLOORS: list[tuple[str, ...]] = [
    ("texts", "clock", "forks"),
    ("errors", "linking"),
    ("identity", "background", "listening"),
    ("mutex", "upkeep", "endings"),
    ("contract",),
    ("settings", "core", "database"),
    ("stores", "http"),
    ("health", "contexts", "versions", "leases", "models"),
    ("refresh", "importers", "metrics"),
    ("migration",),
    ("stack",),
    ("operations", "contrib"),
    ("",),
    ("demo", "console"),
    ("cli", "testing"),
    ("__main__",),
]


def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        .removesuffix("__init__")
        .rstrip("."): path
        for path in ROOT.rglob("*.py")
    }


MODULES = modules()
