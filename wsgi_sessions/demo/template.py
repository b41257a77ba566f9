"""Pieces of HTML. `Markup.format` escapes all inserted values."""

from __future__ import annotations

from datetime import datetime, timezone
from importlib.resources import files

from markupsafe import Markup

STATUS = Markup('<p class="status {}">{}</p>')


def template(name: str) -> Markup:
    """Return a piece from its file."""
    # Trusted: part of the package.
    return Markup((files(__package__) / "static" / name).read_text("utf-8"))  # noqa: S704


def clock(moment: float | datetime) -> str:
    """Return the time of day, from seconds since the epoch or a time in UTC."""
    if not isinstance(moment, datetime):
        moment = datetime.fromtimestamp(moment, timezone.utc)
    return moment.strftime("%H:%M:%S UTC")
