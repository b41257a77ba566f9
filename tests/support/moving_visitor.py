"""A browser that stays while the site behind it moves: it keeps cookies and follows redirects."""

from __future__ import annotations

import re
from http.client import HTTPConnection
from typing import NamedTuple
from urllib.parse import urlencode


class Page(NamedTuple):
    """What the browser shows in the end, and all the statuses on the way there."""

    statuses: list[int]
    body: str

    @property
    def user(self) -> str:
        found = re.search(r"user=(\S+)", self.body)
        return found[1] if found else ""

    @property
    def cart(self) -> str:
        found = re.search(r"cart=(\S*)", self.body)
        return found[1] if found else ""

    @property
    def flashes(self) -> list[str]:
        return re.findall(r"flash=(.*)", self.body)

    @property
    def form(self) -> dict[str, str]:
        """The CSRF token of the form in it."""
        token = re.search(r'name="(csrf\w*)"[^>]* value="([^"]+)"', self.body)
        assert token is not None, self.body
        return {token[1]: token[2]}


class MovingVisitor:
    """A browser of a site on a port of the loopback."""

    def __init__(self) -> None:
        self.cookies: dict[str, str] = {}

    def get(self, port: int, path: str) -> Page:
        return self._follow(port, "GET", path)

    def post(self, port: int, path: str, form: dict[str, str], **fields: str) -> Page:
        return self._follow(port, "POST", path, urlencode({**form, **fields}))

    def restart(self) -> None:
        """Cookies without an age are forgotten; here, that of the session."""
        self.cookies.pop("session", None)

    def _follow(self, port: int, method: str, path: str, body: str | None = None) -> Page:
        statuses: list[int] = []
        while True:
            status, location, text = self._request(port, method, path, body)
            statuses.append(status)
            if location is None:
                return Page(statuses, text)
            method, path, body = "GET", location, None

    def _request(
        self, port: int, method: str, path: str, body: str | None
    ) -> tuple[int, str | None, str]:
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        headers = {"Cookie": "; ".join(f"{n}={v}" for n, v in self.cookies.items())}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        for line in response.headers.get_all("Set-Cookie") or []:
            self._take(line)
        text = response.read().decode()
        connection.close()
        return response.status, response.headers["Location"], text

    def _take(self, line: str) -> None:
        pair, _, attributes = line.partition(";")
        name, _, value = pair.partition("=")
        if "max-age=0" in attributes.lower() or "expires=thu, 01 jan 1970" in attributes.lower():
            self.cookies.pop(name, None)
        else:
            self.cookies[name] = value
