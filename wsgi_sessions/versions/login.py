"""Answers to visitors who have to log in again: the log-in page, or 401 for other clients."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.http.answers import plain_answer

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from wsgi_sessions.http.response import Answer

_PATH_CHARACTERS = "/:@!$&'()*+,;=~"
_QUERY_CHARACTERS = f"{_PATH_CHARACTERS}?%"
_LONGEST_NEXT = 2000
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_URL = re.compile(r"(?:https?://[!-~]+|/[!-~]*)", re.ASCII)


def check_login_url(url: str) -> None:
    """Raise ConfigurationError unless it is a path or an http(s) URL that leads there."""
    if not _URL.fullmatch(url) or url.startswith("//") or "\\" in url or "#" in url:
        raise ConfigurationError(
            f"login URL {url[:100]!a}: write a path such as /login, or a URL that begins with "
            "https://, without a fragment"
        )


def login_answer(environ: WSGIEnvironment, login_url: str) -> Answer:
    """Return 302 to the log-in page, with the visitor's destination as ``next``."""
    location = login_url
    wanted = next_of(environ)
    if wanted is not None:
        location += f"{'&' if '?' in login_url else '?'}next={quote(wanted, safe='/')}"
    text = "Your session has ended: log in again."
    return plain_answer("302 Found", text, ("Location", location))


def unauthorized_answer(login_url: str | None, error: str = "login_required") -> Answer:
    """Return 401 for a client that does not want a page; it includes `login_url`, if set."""
    facts = {"error": error} | ({"login_url": login_url} if login_url else {})
    # A 401 must name a scheme (RFC 9110, section 15.5.2).
    return plain_answer("401 Unauthorized", facts, ("WWW-Authenticate", "Session"))


def is_login_page(environ: WSGIEnvironment, login_url: str) -> bool:
    """Return whether the request is for the log-in page itself."""
    return login_url.startswith("/") and _path(environ) == urlsplit(login_url).path


def next_of(environ: WSGIEnvironment) -> str | None:
    """Return the path and query of this request, to come back to, or None.

    Never leads to another host (CWE-601): it begins with exactly one slash. None for a path with
    two slashes in a row, a backslash or a control character, of which browsers make other
    addresses, and for a request that a link cannot repeat.
    """
    path, query = _path(environ), environ.get("QUERY_STRING", "")
    if environ.get("REQUEST_METHOD") not in ("GET", "HEAD") or not path.startswith("/"):
        return None
    if "//" in path or "\\" in path or _CONTROLS.search(path + query):
        return None
    try:
        url = quote(path.encode("latin-1"), safe=_PATH_CHARACTERS)
        if query:
            url += "?" + quote(query.encode("latin-1"), safe=_QUERY_CHARACTERS)
    except UnicodeEncodeError:  # not allowed by PEP 3333
        return None
    return url if len(url) <= _LONGEST_NEXT else None


def _path(environ: WSGIEnvironment) -> str:
    path: str = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    return path
