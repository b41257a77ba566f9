"""The screen that is drawn again every few seconds, until a key ends it."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live

from wsgi_sessions.clock import monotonic
from wsgi_sessions.console.numbers.collected import collect
from wsgi_sessions.console.terminal.frame import Frame
from wsgi_sessions.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.console.view import View

_QUIT = frozenset(b"qQ\x03\x04")


def print_once(view: View) -> None:
    """Print one frame, as wide as the terminal, and as high as it gets."""
    console = Console(highlight=False)
    console.print(Frame(collect(view), view.clock()))


def watch(view: View, seconds: float) -> None:
    """Show the numbers until ``q`` or Ctrl+C, collected every `seconds`.

    Raises ConfigurationError if the output is not a terminal that can be drawn upon.
    """
    console = Console(highlight=False)
    if not console.is_terminal or console.is_dumb_terminal:
        raise ConfigurationError("the output is not a terminal: add --once or --json")
    hint = f"q quits  every {seconds:g} s"
    with (
        suppress(KeyboardInterrupt),
        _keys() as source,
        _resizes() as resized,
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        while True:
            frame = Frame(collect(view), view.clock(), hint, fits=True)
            live.update(frame, refresh=True)
            due = monotonic() + seconds
            while (left := due - monotonic()) > 0:
                ready, _, _ = select.select([source, resized], [], [], left)
                if source in ready and _is_over(source):
                    return
                if resized in ready:
                    os.read(resized, 512)
                    live.refresh()


def _is_over(source: int) -> bool:
    """Return whether a key that quits was pressed, or nobody can press one any more."""
    pressed = os.read(source, 64)
    return not pressed or bool(_QUIT & set(pressed))


@contextmanager
def _keys() -> Iterator[int]:
    """Provide a descriptor that has each key as it is pressed; it shows none of them."""
    source = sys.stdin.fileno()
    if not os.isatty(source):
        raise ConfigurationError("the input is not a terminal: add --once or --json")
    before = termios.tcgetattr(source)
    tty.setcbreak(source)
    try:
        yield source
    finally:
        termios.tcsetattr(source, termios.TCSADRAIN, before)


@contextmanager
def _resizes() -> Iterator[int]:
    """Provide a descriptor that can be read whenever the terminal has got another size."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    handler = signal.signal(signal.SIGWINCH, lambda *_: None)
    former = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(former)
        signal.signal(signal.SIGWINCH, handler)
        os.close(reader)
        os.close(writer)
