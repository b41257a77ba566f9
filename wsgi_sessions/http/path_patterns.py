"""Patterns of paths, matched against every form in which a router may take a path."""

from __future__ import annotations

import fnmatch
import posixpath
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SLASHES = re.compile("/+")
_PARAMETERS = re.compile(";[^/]*")


class PathPatterns:
    """Patterns such as ``/cart/*``, where ``*`` stands for anything.

    They match too much rather than too little, since routers differ. Case is ignored, slashes in a
    row are one slash, a slash at the end does not count, and a path matches as it is, without
    ``;parameters``, and with ``.`` and ``..`` resolved.

    Not promised: a security boundary. An application may give a view any number of paths, or
    rewrite them behind the middleware: mark the view itself, with `exclusive`.
    """

    __slots__ = ("_match",)

    def __init__(self, patterns: Iterable[str]) -> None:
        plain = (pattern.casefold().rstrip("/") or "/" for pattern in patterns)
        self._match = re.compile("|".join(map(fnmatch.translate, plain))).match

    def match(self, *paths: str) -> bool:
        """Return whether any of these paths matches; each is a ``PATH_INFO`` as in PEP 3333."""
        match = self._match
        return any(match(form) for path in paths for form in _forms(path))


def _forms(path: str) -> Iterator[str]:
    """Return the forms that routers may make of a path."""
    text = path.encode("latin-1", "replace").decode("utf-8", "replace").casefold()
    plain = _SLASHES.sub("/", f"/{text}")
    yield plain
    yield plain.rstrip("/") or "/"
    bare = _PARAMETERS.sub("", plain)
    yield bare.rstrip("/") or "/"
    yield _SLASHES.sub("/", posixpath.normpath(bare))
