"""The numbers of a server's workers, read from the path of its metrics."""

from __future__ import annotations

import re
import urllib.request
from typing import NamedTuple
from urllib.parse import urlsplit

from wsgi_sessions import texts
from wsgi_sessions.errors import ConfigurationError, StoreUnavailable
from wsgi_sessions.settings.kinds import hide_credentials

_SECONDS = 1.0
_MOST_BYTES = 4 * 1024 * 1024
_LINE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")


@texts.shows("labels", "value")
class Scraped(NamedTuple):
    """One series of a metric, and its value."""

    labels: dict[str, str]
    value: float


class MetricsPath:
    """The metrics at a URL, in Prometheus' text format. `token`: that of health and metrics.

    Raises ConfigurationError if it is not an address of HTTP.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ConfigurationError(
                f"{texts.shown(hide_credentials(url))} is not a URL of metrics: write http://127.0.0.1:8000/metrics"
            )
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._request = urllib.request.Request(url, headers=headers)  # noqa: S310  # checked above

    def read(self, name: str) -> list[Scraped]:
        """Return all series of a metric. Raises StoreUnavailable if the server does not tell."""
        try:
            with urllib.request.urlopen(self._request, timeout=_SECONDS) as answer:  # noqa: S310
                return scraped(answer.read(_MOST_BYTES).decode("utf-8", "replace"), name)
        except (OSError, ValueError) as error:
            raise StoreUnavailable(f"the server's metrics cannot be read: {error}") from error


def scraped(text: str, name: str) -> list[Scraped]:
    """Return the series of a metric in Prometheus' text format. Raises ValueError."""
    found = (_LINE.fullmatch(line) for line in text.splitlines() if line.startswith(name))
    return [
        Scraped(
            {label: _ESCAPE.sub(_plain, value) for label, value in _LABEL.findall(m[2] or "")},
            float(m[3]),
        )
        for m in found
        if m is not None and m[1] == name
    ]


def _plain(escape: re.Match[str]) -> str:
    return "\n" if escape[1] == "n" else escape[1]
