"""A WSGI client in this process: calls an application as a server does, with a cookie jar."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, NamedTuple
from wsgiref.util import FileWrapper, setup_testing_defaults

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class Response(NamedTuple):
    """What a browser would get."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(found) <= 1, f"{name} comes {len(found)} times"
        return found[0] if found else None


def environ_of(
    path: str, method: str = "GET", cookie: str | None = None, **more: Any
) -> dict[str, Any]:
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    environ.update(PATH_INFO=path, REQUEST_METHOD=method, **more)
    environ["wsgi.input"] = io.BytesIO()
    environ["wsgi.file_wrapper"] = FileWrapper
    if cookie is not None:
        environ["HTTP_COOKIE"] = cookie
    return environ


class Browser:
    """Requests one after the other, with the cookies that were set."""

    def __init__(self, app: WSGIApplication) -> None:
        self.app = app
        self.cookies: dict[str, str] = {}

    def get(self, path: str, *, method: str = "GET", **more: Any) -> Response:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items()) or None
        environ = environ_of(path, method, more.pop("cookie", cookie), **more)
        response = call(self.app, environ)
        for name, value in response.headers:
            if name == "Set-Cookie":
                self._take(value)
        return response

    def _take(self, header: str) -> None:
        pair, _, attributes = header.strip().partition(";")
        name, _, value = pair.partition("=")
        if "max-age=0" in attributes.lower():
            self.cookies.pop(name, None)
        else:
            self.cookies[name] = value


def call(app: WSGIApplication, environ: dict[str, Any]) -> Response:
    """One request, served as PEP 3333 asks of a server."""
    started: list[tuple[str, list[tuple[str, str]]]] = []
    written: list[bytes] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        if exc_info is not None and written:
            raise exc_info[1].with_traceback(exc_info[2])
        started.append((status, headers))
        return written.append

    body = app(environ, start_response)
    try:
        for chunk in body:
            assert started, "a chunk came before start_response"
            written.append(chunk)
    finally:
        if hasattr(body, "close"):
            body.close()
    status, headers = started[-1]
    return Response(int(status[:3]), headers, b"".join(written))
