"""Pieces of the terminal's page. Texts of a store are escaped, and never are rich's markup."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rich.table import Table
from rich.text import Text

from wsgi_sessions import texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import RenderableType

QUIET = "dim"
GOOD = "bold green"
WARNING = "yellow"
BAD = "bold red"
_GAP = 2
_BARS = "▁▂▃▄▅▆▇█"
_PLAIN_BARS = ".:-=+*%#"


@texts.shows("width")
class Sheet(NamedTuple):
    """The place for a part: its width in characters, and whether it takes nothing but ASCII."""

    width: int
    is_ascii: bool


def line(value: object, style: str = "") -> Text:
    """Return any text on one line, as it is told of; the terminal obeys none of it."""
    return Text(texts.shown(value, texts.TEXT), style)


def facts(pairs: Iterable[tuple[str, object]]) -> Table:
    """Return names and values."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style=QUIET, no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs:
        grid.add_row(name, value if isinstance(value, Text) else line(value))
    return grid


def table(sheet: Sheet, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table. Columns whose heads begin with ``>`` (numbers, on the right) or ``<`` (words)
    are not cut; one with ``?`` is left out where the table is too wide."""
    rows = list(rows)
    widths = [_width(head, [row[place] for row in rows]) for place, head in enumerate(heads)]
    is_too_wide = sum(widths) + _GAP * (len(widths) - 1) > sheet.width
    kept = [place for place, head in enumerate(heads) if head[0] != "?" or not is_too_wide]
    made = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style=QUIET)
    for place in kept:
        _add_column(made, heads[place], widths[place])
    for row in rows:
        cells = (row[place] for place in kept)
        made.add_row(*(cell if isinstance(cell, Text) else line(cell) for cell in cells))
    return made


def _add_column(made: Table, head: str, width: int) -> None:
    if head[0] == ">":
        made.add_column(head[1:], justify="right", no_wrap=True, min_width=width)
    elif head[0] == "<":
        made.add_column(head[1:], no_wrap=True, min_width=width)
    else:
        made.add_column(head.removeprefix("?"), no_wrap=True, overflow="ellipsis")


def _width(head: str, cells: Iterable[object]) -> int:
    return max(len(head.lstrip("<>?")), *(len(str(cell)) for cell in cells))


def bars(numbers: Sequence[int], sheet: Sheet) -> Text:
    """Return a bar of one character for each number; a blank for none."""
    most, steps = max(numbers, default=0), _PLAIN_BARS if sheet.is_ascii else _BARS
    drawn = (steps[(number * len(steps) - 1) // most] if number else " " for number in numbers)
    return Text("".join(drawn), "cyan")


def titled(title: str, *body: RenderableType) -> list[RenderableType]:
    """Return a part under its title."""
    return [Text(title, "bold"), *body, Text("")]
