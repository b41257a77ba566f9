"""Response headers that go with a session cookie. No function changes the given list.

Field names and directives are compared without regard to case; kept fields keep their places.
"""

from __future__ import annotations

from urllib.request import parse_http_list

Headers = list[tuple[str, str]]


def without_cookie(headers: Headers, name: str) -> Headers:
    """Return a new list without the Set-Cookie headers of this cookie name."""
    return [header for header in headers if not _sets(header, name)]


def vary_on_cookie(headers: Headers) -> Headers:
    """Return a new list in which Vary has Cookie (RFC 9110, section 12.5.5), as ``*`` does."""
    for name, _ in headers:
        if len(name) == 4 and name.lower() == "vary":
            break
    else:  # as in most responses
        return [*headers, ("Vary", "Cookie")]
    fields = {field.lower() for field in _items(headers, "vary")}
    if fields & {"*", "cookie"}:
        return [*headers]
    return _merged(headers, "Vary", [*_items(headers, "vary"), "Cookie"])


def private_cache_headers(headers: Headers) -> Headers:
    """Return a new list that no shared cache may store, for a response with our Set-Cookie.

    ``no-store`` is left as it is. Else ``public`` and ``s-maxage`` go and ``private`` comes;
    directives for the browser's cache (``max-age``, ...) stay. Fields that address shared caches
    past Cache-Control (RFC 9213, and their forerunners) go, unless they forbid storing too.
    """
    kept = [header for header in headers if not _lets_shared_caches_store(header)]
    directives = _items(kept, "cache-control")
    names = {directive.lower() for directive in directives}
    if "no-store" in names or ("private" in names and not any(map(_is_public, directives))):
        return kept
    remaining = [d for d in directives if not _is_public(d) and d.lower() != "private"]
    return _merged(kept, "Cache-Control", ["private", *remaining])


def _sets(header: tuple[str, str], name: str) -> bool:
    field, value = header
    if field.lower() != "set-cookie":
        return False
    key, equals, _ = value.partition(";")[0].partition("=")
    return bool(equals) and key.strip() == name


def _lets_shared_caches_store(header: tuple[str, str]) -> bool:
    field = header[0].lower()
    if field == "x-accel-expires":
        return header[1].strip() != "0"
    if field.endswith("cdn-cache-control") or field in {"surrogate-control", "edge-control"}:
        return not {"no-store", "private"} & {item.lower() for item in _items([header], field)}
    return False


def _is_public(directive: str) -> bool:
    # `private="Field"` keeps that field alone from shared caches, not the response.
    name, equals, _ = directive.lower().partition("=")
    return name in {"public", "s-maxage"} or (name == "private" and bool(equals))


def _items(headers: Headers, field: str) -> list[str]:
    values = [value for name, value in headers if name.lower() == field]
    return [item for value in values for item in parse_http_list(value) if item]


def _merged(headers: Headers, field: str, items: list[str]) -> Headers:
    """Return the list with one line of this field, at its first place or at the end."""
    line = (field, ", ".join(items))
    places = [i for i, (name, _) in enumerate(headers) if name.lower() == field.lower()]
    if not places:
        return [*headers, line]
    others = [h if i != places[0] else line for i, h in enumerate(headers)]
    return [h for i, h in enumerate(others) if i not in places[1:]]
