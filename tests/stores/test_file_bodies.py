"""Bodies that a server sends as a file, whatever its ``wsgi.file_wrapper`` is."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any
from wsgiref.util import FileWrapper

import pytest
from wsgi_client import environ_of

from wsgi_sessions import Config, build, get_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed.wsgi import WSGIApplication

    from wsgi_sessions.stack.build import Stack


def giving_back(file: Any, size: int = 0) -> Any:
    """uWSGI's file wrapper: the file itself, which it sends if it is what is returned."""
    return file


def making(file: Any, size: int = 8192) -> Any:
    """A function, as PEP 3333 allows, that makes something else."""
    return FileWrapper(file, size)


def stack_of(app: WSGIApplication) -> Stack:
    return build(app, Config(url="memory://", secret_keys=("s" * 40,), sweep_interval=None))


def body_of(stack: Stack, wrapper: Callable[..., Any]) -> Any:
    """What the server with this file wrapper gets to send."""
    environ = environ_of("/")
    environ["wsgi.file_wrapper"] = wrapper
    return stack(environ, lambda *_: lambda _: None)


@pytest.mark.parametrize("wrapper", [giving_back, making, FileWrapper])
@pytest.mark.parametrize("use", ["none", "write"])
def test_the_file_wrapper_s_result_reaches_the_server_as_it_is(
    wrapper: Callable[..., Any], use: str
) -> None:
    made = []

    def app(environ: Any, start_response: Any) -> Any:
        if use == "write":
            get_session(environ)["x"] = 1
        start_response("200 OK", [])
        made.append(environ["wsgi.file_wrapper"](io.BytesIO(b"line\nline\n"), 65536))
        return made[0]

    assert body_of(stack_of(app), wrapper) is made[0]


def test_changes_while_another_body_is_sent_are_stored() -> None:
    lines: list[str] = []
    session: Any = None

    class Late(io.BytesIO):
        def __next__(self) -> bytes:
            session["lines"] = [*lines]
            lines.append("one more")
            return super().__next__()

    def app(environ: Any, start_response: Any) -> Any:
        nonlocal session
        environ["wsgi.file_wrapper"](io.BytesIO(b"another file, that is not sent"))
        session = get_session(environ)
        session["lines"] = []
        start_response("200 OK", [])
        return Late(b"one\ntwo\n")

    stack = stack_of(app)
    body = body_of(stack, giving_back)
    assert lines == ["one more"], "the first chunk is made before the call returns, as of a stream"
    assert [*body] == [b"one\n", b"two\n"]
    body.close()
