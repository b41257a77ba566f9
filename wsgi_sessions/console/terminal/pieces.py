"""Pieces of the terminal's page. Texts of a store are escaped, and never are rich's markup."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
_BARS = "▁▂▃▄▅▆▇█"
_PLAIN_BARS = ".:-=+*%#"


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


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table. Columns whose heads begin with ``>`` (numbers, on the right) or ``<`` (words)
    are never cut."""
    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style=QUIET)
    rows = list(rows)
    for place, head in enumerate(heads):
        if head.startswith(">"):
            made.add_column(head[1:], justify="right", no_wrap=True, min_width=_width(place, rows))
        elif head.startswith("<"):
            made.add_column(head[1:], no_wrap=True, min_width=_width(place, rows))
        else:
            made.add_column(head, no_wrap=True, overflow="ellipsis")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else line(cell) for cell in row))
    return made


def _width(place: int, rows: Iterable[Sequence[object]]) -> int:
    return max((len(str(row[place])) for row in rows), default=0)


def bars(numbers: Sequence[int], *, is_ascii: bool) -> Text:
    """Return a bar of one character for each number; a blank for none."""
    most, steps = max(numbers, default=0), _PLAIN_BARS if is_ascii else _BARS
    drawn = (steps[(number * len(steps) - 1) // most] if number else " " for number in numbers)
    return Text("".join(drawn), "cyan")


def titled(title: str, *body: RenderableType) -> list[RenderableType]:
    """Return a part under its title."""
    return [Text(title, "bold"), *body, Text("")]
