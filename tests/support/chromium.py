"""A real browser for tests: headless Chromium, driven through the DevTools protocol on two pipes.

Each browser has a profile of its own and is ended by its own process handle::

    with Chromium(folder) as browser:
        browser.open("http://127.0.0.1:8000/")
        title = browser.evaluate("document.title")
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import select
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
# Chromium reads commands from descriptor 3 and writes answers to 4.
_LAUNCH = """
import os, sys
read, write, *command = sys.argv[1:]
os.dup2(int(read), 3)
os.dup2(int(write), 4)
os.execv(command[0], command)
"""
_SECONDS = 60.0


@functools.cache
def binary() -> str | None:
    """The path of a Chromium, or None."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


def available() -> str | None:
    """Why no browser can be started here, or None if one can."""
    return None if binary() else f"no browser on PATH: {', '.join(_NAMES)}"


class Chromium:
    """One browser with one page, or several tabs, of which one is at hand.

    `complaints` are what its console and security log hold.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        ours, theirs = _pipes()
        self._write, self._read = ours
        path = binary()
        assert path is not None
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", _LAUNCH, *map(str, theirs)),
                *(path, *_OPTIONS, *options, f"--user-data-dir={folder}", "about:blank"),
            ],
            pass_fds=theirs,
            close_fds=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for descriptor in theirs:
            os.close(descriptor)
        self._buffer = b""
        self._last_id = 0
        self._page: str | None = None
        self._events: list[dict[str, Any]] = []

    def open(self, url: str) -> None:
        """Load a page, to the end of its load event."""
        if self._page is None:
            self._attach()
        seen = len(self._events)
        self._call("Page.navigate", url=url)
        while not any(map(self._has_loaded, self._events[seen:])):
            self._events.append(self._receive())

    def _has_loaded(self, event: dict[str, Any]) -> bool:
        is_here = event.get("sessionId") == self._page
        return is_here and event["method"] == "Page.loadEventFired"

    def new_tab(self) -> str:
        """Open a tab, which is the one at hand from now on. Its name, for `use_tab`."""
        self._page = None
        return self._attach()

    def use_tab(self, name: str) -> None:
        """Go back to a tab."""
        self._page = name

    def resize(self, width: int, height: int) -> None:
        """Give the page the size of a phone's, which a window cannot have."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=True,
        )

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, or what its promise resolves to."""
        answer = self._call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    @property
    def complaints(self) -> list[str]:
        """Errors and warnings of the page so far: exceptions, policy violations, failed loads."""
        self.evaluate("0")  # whatever came before it has been received then
        return [text for event in self._events for text in _complaint(event)]

    def close(self) -> None:
        """End the browser. Idempotent."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for descriptor in {self._write, self._read} - {-1}:
            os.close(descriptor)
        self._write = self._read = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _attach(self) -> str:
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        answer = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._page = answer["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")
        return str(self._page)

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": parameters}
        if self._page is not None:
            message["sessionId"] = self._page
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._last_id:
            self._events.append(answer)
        assert "error" not in answer, (method, answer)
        result: dict[str, Any] = answer["result"]
        return result

    def _receive(self) -> dict[str, Any]:
        deadline = time.monotonic() + _SECONDS
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"the browser said nothing for {_SECONDS} s"
            data = os.read(self._read, 65536)
            assert data, "the browser has ended"
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer


def _pipes() -> tuple[tuple[int, int], tuple[int, int]]:
    """Our ends (write, read) and the browser's (read, write), none of them below 10."""
    read, write = os.pipe()
    commands = _high(read), _high(write)
    read, write = os.pipe()
    answers = _high(read), _high(write)
    return (commands[1], answers[0]), (commands[0], answers[1])


def _high(descriptor: int) -> int:
    # 3 and 4 are taken by dup2 in the browser, and must be none of the originals.
    copy = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return copy


def _complaint(event: dict[str, Any]) -> list[str]:
    parameters = event.get("params", {})
    if event.get("method") == "Runtime.exceptionThrown":
        return [str(parameters["exceptionDetails"])]
    if event.get("method") == "Log.entryAdded":
        entry = parameters["entry"]
        return [f"{entry['source']}: {entry['text']}"]
    if event.get("method") == "Runtime.consoleAPICalled" and parameters["type"] != "log":
        return [str(parameters["args"])]
    return []
