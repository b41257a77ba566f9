"""A browser's cookie jar (RFC 6265, CHIPS): keeps cookies of one name apart as browsers do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from wsgi_client import Response, call, environ_of

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class CookiePlace(NamedTuple):
    """What tells a cookie from another one of its name."""

    domain: str
    is_host_only: bool
    path: str
    partitioned: bool


class Jar:
    """A visitor of one host over https: `held` has the cookies, each by its name and place."""

    def __init__(self, host: str = "app.example.test") -> None:
        self.host = host
        self.held: dict[tuple[str, CookiePlace], str] = {}

    def get(self, app: WSGIApplication, path: str, **more: Any) -> Response:
        response = call(app, self.environ(path, **more))
        self.take(response)
        return response

    def environ(self, path: str, **more: Any) -> dict[str, Any]:
        """A request, as it stands when it leaves the browser."""
        more = {"HTTP_HOST": self.host, "wsgi.url_scheme": "https", **more}
        return environ_of(path, cookie=self.header(path) or None, **more)

    def header(self, path: str) -> str:
        """Longer paths first, then those that were set earlier."""
        fitting = [key for key in self.held if self._comes_back(key[1], path)]
        fitting.sort(key=lambda key: -len(key[1].path))
        return "; ".join(f"{key[0]}={self.held[key]}" for key in fitting)

    def take(self, response: Response) -> None:
        for name, value in response.headers:
            if name.lower() == "set-cookie":
                self.set(value)

    def set(self, header: str) -> None:
        pair, *attributes = header.split("; ")
        name, _, value = pair.partition("=")
        given = {k.lower(): v for k, _, v in (part.partition("=") for part in attributes)}
        domain = given.get("domain")
        if domain is not None and not f".{self.host}".endswith(f".{domain}"):
            return
        place = CookiePlace(
            domain or self.host, domain is None, given.get("path", "/"), "partitioned" in given
        )
        if given.get("max-age") == "0":
            self.held.pop((name, place), None)
        else:
            self.held[name, place] = value

    def places(self, name: str = "session") -> list[CookiePlace]:
        return [place for held, place in self.held if held == name]

    def _comes_back(self, place: CookiePlace, path: str) -> bool:
        if place.is_host_only and place.domain != self.host:
            return False
        rest = path.removeprefix(place.path)
        return path.startswith(place.path) and (
            not rest or place.path.endswith("/") or rest.startswith("/")
        )
