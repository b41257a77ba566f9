"""Frame: all parts, in one column or two, cut to the height of the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from wsgi_sessions.console.terminal.parts import part
from wsgi_sessions.console.terminal.pieces import QUIET, Sheet
from wsgi_sessions.operations.words import timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

_WIDE = 128
_GAP = 4
_COLUMNS = (("store", "live", "ends", "versions"), ("conflicts", "heavy", "leases"))


class Frame:
    """The page of a terminal, as of one moment.

    `told` are the numbers of each part. `hint` is what the last line says beside the time. With
    `fits`, the page is cut to the height of the terminal, and the last line says by how much.
    """

    def __init__(
        self, told: Mapping[str, Any], at: float, hint: str = "", *, fits: bool = False
    ) -> None:
        self._told = told
        self._at = at
        self._hint = hint
        self._fits = fits

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Called by rich."""
        body, height = self._body(options), options.height or console.height
        lines = console.render_lines(body, options.update(height=None), pad=False)
        hidden = max(len(lines) - height + 1, 0) if self._fits else 0
        for line in lines[: len(lines) - hidden]:
            yield from line
            yield Segment.line()
        yield self._last_line(hidden)

    def _last_line(self, hidden: int) -> Text:
        more = f"{hidden} more lines" if hidden else ""
        shown = (self._hint, f"{timestamp(self._at)[11:]} UTC", more)
        return Text("  ".join(filter(None, shown)), QUIET, no_wrap=True, overflow="ellipsis")

    def _body(self, options: ConsoleOptions) -> RenderableType:
        width = options.max_width
        if width < _WIDE:
            return self._group(self._told, Sheet(width, options.ascii_only))
        grid = Table.grid(padding=(0, _GAP, 0, 0), expand=True)
        grid.add_column(ratio=1)
        grid.add_column(ratio=1)
        sheet = Sheet(width // 2 - _GAP, options.ascii_only)
        grid.add_row(*(self._group(names, sheet) for names in _COLUMNS))
        return grid

    def _group(self, names: Iterable[str], sheet: Sheet) -> Group:
        parts = (part(name, self._told[name], sheet) for name in names)
        return Group(*(piece for pieces in parts for piece in pieces))
