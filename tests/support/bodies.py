"""The shapes that a WSGI body has."""

from __future__ import annotations

import sys
import tempfile
from typing import TYPE_CHECKING, Any

from watched import TEXT

from wsgi_sessions import get_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Handler = Callable[[Any, Any], Any]


def as_list(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [*TEXT])
    return [b"body"]


def as_tuple(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [*TEXT])
    return (b"bo", b"dy")


def as_generator(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [*TEXT])
    yield b"bo"
    yield b"dy"


def as_late_generator(environ: Any, start_response: Any) -> Any:
    """start_response, and the first change, only when the body is asked for."""
    get_session(environ)["late"] = True
    start_response("200 OK", [*TEXT])
    yield b""
    yield b"body"


def as_empty_generator(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [*TEXT])
    return iter(())


def as_write(environ: Any, start_response: Any) -> Any:
    write = start_response("200 OK", [*TEXT])
    write(b"bo")
    write(b"dy")
    return []


def as_write_and_body(environ: Any, start_response: Any) -> Any:
    write = start_response("200 OK", [*TEXT])
    write(b"bo")
    return iter([b"dy"])


def as_file(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [*TEXT])
    file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by the wrapper
    file.write(b"body")
    file.seek(0)
    return environ["wsgi.file_wrapper"](file)


def as_exc_info(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [*TEXT])
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        start_response("200 OK", [("Content-Type", "text/html")], sys.exc_info())
    return [b"body"]


class AsObject:
    """An iterable with a close of its own."""

    closed = 0

    def __init__(self, environ: Any, start_response: Any) -> None:
        start_response("200 OK", [*TEXT])

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"bo", b"dy"])

    def close(self) -> None:
        type(self).closed += 1


SHAPES = [
    as_list,
    as_tuple,
    as_generator,
    as_late_generator,
    as_empty_generator,
    as_write,
    as_write_and_body,
    as_file,
    as_exc_info,
    AsObject,
]
