"""Page loads, told apart from the requests of scripts and other clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_PAGES = frozenset({"", "document", "iframe", "frame"})
_HTML = frozenset({"text/html", "application/xhtml+xml"})


def is_page_load(environ: WSGIEnvironment) -> bool:
    """Return whether a browser loads a page, so that a redirect to a form makes sense.

    Decided by the first of these that the request has:

    - ``Sec-Fetch-Mode`` and ``Sec-Fetch-Dest`` (W3C Fetch Metadata), which no script can set: a
      page is navigated to, as a document or in a frame;
    - ``X-Requested-With: XMLHttpRequest``, the habit of older scripts: not a page;
    - ``Accept``, which names HTML only where a page is wanted. Any type (``*/*``) is not a page.
    """
    mode = environ.get("HTTP_SEC_FETCH_MODE")
    if mode is not None:
        dest = environ.get("HTTP_SEC_FETCH_DEST", "")
        return mode.strip().lower() == "navigate" and dest.strip().lower() in _PAGES
    if environ.get("HTTP_X_REQUESTED_WITH", "").strip().lower() == "xmlhttprequest":
        return False
    return any(map(_accepts_html, environ.get("HTTP_ACCEPT", "").split(",")))


def _accepts_html(item: str) -> bool:
    """Return whether a media range of Accept accepts HTML; weight 0 refuses (RFC 9110, 12.4.2)."""
    media, *parameters = (part.strip().lower() for part in item.split(";"))
    return media in _HTML and not any(_is_zero(parameter) for parameter in parameters)


def _is_zero(parameter: str) -> bool:
    name, _, weight = parameter.partition("=")
    return name.strip() == "q" and weight.strip() in ("0", "0.", "0.0", "0.00", "0.000")
