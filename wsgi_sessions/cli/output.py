"""Output of commands: aligned columns for people, JSON for programs, and progress."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, TextIO

import click

from wsgi_sessions import texts
from wsgi_sessions.clock import monotonic
from wsgi_sessions.operations.words import ago, counted, timestamp, until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from typing_extensions import Self

__all__ = [
    "Progress",
    "ago",
    "counted",
    "json_option",
    "print_columns",
    "print_json",
    "printable",
    "say",
    "timestamp",
    "until",
]

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

_PLAIN_SECONDS = 10.0
_TERMINAL_SECONDS = 0.1
_CLEAR = "\r\x1b[K"


def print_json(value: object, *, indent: int | None = 2) -> None:
    """Print a value as JSON; in ASCII, so that a terminal obeys none of it."""
    click.echo(json.dumps(value, indent=indent))


def print_columns(rows: Sequence[Sequence[str]]) -> None:
    """Print rows of cells, each column as wide as its longest cell. Cells may hold any text.

    A cell longer than `texts.WORD` characters widens only its own row.
    """
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [min(max(map(len, column)), texts.WORD) for column in zip(*shown, strict=True)]
    for row in shown:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def say(text: str = "", *, err: bool = False) -> None:
    """Print a text of one or more lines, which may quote anything."""
    click.echo(texts.lines(text), err=err)


def printable(text: str) -> str:
    """Return text from a store, which may be anything, with terminal controls escaped."""
    return texts.shown(text, texts.TEXT)


class Progress:
    """Progress of long work on stderr: one updated line on a terminal, elsewhere a line every 10
    seconds.

    Call it with the number done so far, as often as needed. `total`: the number in all, if known.
    """

    def __init__(
        self,
        what: str,
        *,
        total: int | None = None,
        stream: TextIO | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._what = what
        self._total = total
        self._stream = stream or sys.stderr
        self._clock = clock
        self._is_terminal = self._stream.isatty()
        self._due = clock() + (_TERMINAL_SECONDS if self._is_terminal else _PLAIN_SECONDS)
        self._is_shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._is_terminal and self._is_shown:
            self._write(_CLEAR)

    def __call__(self, done: int) -> None:
        now = self._clock()
        if now < self._due:
            return
        share = f" of {self._total} ({100 * done // self._total} %)" if self._total else ""
        line = f"{self._what}: {done}{share}"
        self._write(_CLEAR + line if self._is_terminal else line + "\n")
        self._is_shown = True
        self._due = now + (_TERMINAL_SECONDS if self._is_terminal else _PLAIN_SECONDS)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
