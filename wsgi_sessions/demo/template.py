"""Pieces of HTML. `Markup.format` escapes whatever is put into them."""

from __future__ import annotations

from datetime import datetime, timezone
from importlib.resources import files

from markupsafe import Markup

STATUS = Markup('<p class="status {}">{}</p>')


def template(name: str) -> Markup:
    """A piece that is a file of its own."""
    # Trusted: it comes with the package.
    return Markup((files(__package__) / "static" / name).read_text("utf-8"))  # noqa: S704


def clock(moment: float | datetime) -> str:
    """A time of day; of seconds since the epoch, or of a time in UTC."""
    if not isinstance(moment, datetime):
        moment = datetime.fromtimestamp(moment, timezone.utc)
    return moment.strftime("%H:%M:%S UTC")
