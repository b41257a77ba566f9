"""Pieces of HTML. `Markup.format` escapes every value; `shown` escapes what a terminal obeys."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from markupsafe import Markup

from wsgi_sessions import texts
from wsgi_sessions.console.admission import PATH
from wsgi_sessions.identity import short_key
from wsgi_sessions.operations.words import ago, timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NOTHING = "-"
"""The stand-in for what is not there."""
_FEW = 4
_TIME = Markup('<time datetime="{}" title="{} UTC">{}</time>')
_LINK = Markup('<a href="{}"><code>{}</code></a>')
_FACT = Markup("<div><dt>{}</dt><dd>{}</dd></div>")
_TABLE = Markup('<div class="{}"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>')
_HEAD = Markup('<th scope="col">{}</th>')
_ROW = Markup("<tr>{}</tr>")
_CELL = Markup('<td data-head="{}" class="{}">{}</td>')
_WORD = 16
_PARAGRAPH = Markup('<p class="{}">{}</p>')


def template(name: str) -> Markup:
    """Return a piece from its file."""
    # Trusted: part of the package.
    return Markup((files(__package__) / "static" / name).read_text("utf-8"))  # noqa: S704


def shown(value: object) -> object:
    """Return a value for a page: any text on one line, escaped and cut; HTML as it is."""
    return value if isinstance(value, Markup) else texts.shown(value)


def joined(pieces: Iterable[Markup], between: str = "") -> Markup:
    """Return pieces of HTML one after another."""
    return Markup(between).join(pieces)  # noqa: S704  # the separators are this package's own


def paragraph(text: object, kind: str = "") -> Markup:
    """Return a paragraph of the class `kind`."""
    return _PARAGRAPH.format(kind, shown(text))


def facts(pairs: Iterable[tuple[str, object]]) -> Markup:
    """Return a list of names and values."""
    rows = joined(_FACT.format(name, shown(value)) for name, value in pairs)
    return Markup('<dl class="facts">{}</dl>').format(rows)


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Markup:
    """Return a table; on a phone, a row of many cells is a card, in which the heads name them."""
    body = joined(
        _ROW.format(joined(_cell(head, cell) for head, cell in zip(heads, cells, strict=True)))
        for cells in rows
    )
    kind = "wide many" if len(heads) > _FEW else "wide"
    return _TABLE.format(kind, joined(map(_HEAD.format, heads)), body)


def _cell(head: str, value: object) -> Markup:
    """Return a cell, in which a number or a key is not broken into two lines."""
    text = shown(value)
    is_short = len(str(value)) <= _WORD and " " not in str(value)
    is_whole = is_short or isinstance(value, Markup)  # a link by a key, or a time
    return _CELL.format(head, "whole" if is_whole else "", text)


def since(at: float, now: float) -> Markup:
    """Return the time since a moment, with the moment itself on request."""
    moment = timestamp(at)
    return _TIME.format(f"{moment.replace(' ', 'T')}Z", moment, ago(at, now))


def session_link(key: str) -> Markup:
    """Return a link to the page of one session, by its store key."""
    return linked(short_key(key))


def linked(short: str) -> Markup:
    """Return a link to the page of one session, by the part of its key that may be shown."""
    return _LINK.format(f"{PATH}/session?{urlencode({'key': short})}", short)
