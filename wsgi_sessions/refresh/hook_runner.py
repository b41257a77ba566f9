"""The call of a hook that may raise, hang or be called off, without hanging with it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Literal, NamedTuple

from wsgi_sessions import texts
from wsgi_sessions.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.core.session import Session

_MAX_ABANDONED = 8
_log = texts.log(__name__)


@texts.shows("kind")
class HookResult(NamedTuple):
    """The result of a call. "late", "lost" and "stopped" calls still run, left behind."""

    kind: Literal["done", "raised", "late", "lost", "stopped"]
    error: BaseException | None = None


class HookRunner:
    """Calls a hook, each call in a thread of its own, left behind after `deadline` seconds."""

    def __init__(self, hook: Callable[[Session], object], deadline: float) -> None:
        self._hook = hook
        self._deadline = deadline
        self._stopped = threading.Event()
        self._current: _Call | None = None
        self._abandoned: list[_Call] = []

    def call(self, session: Session, beat: Callable[[], bool], period: float) -> HookResult:
        """Call the hook and wait for it.

        `beat` is called every `period` seconds, and at the end: if it returns False, the call is
        "lost". Its exceptions are raised.
        """
        call = self._current = _Call(self._hook, session)
        if self._stopped.is_set():  # checked only now: `stop` may not have seen this call
            return HookResult("stopped")
        call.start()
        try:
            return self._wait(call, beat, period)
        finally:
            if not call.is_done:
                self._abandoned.append(call)

    def stop(self) -> None:
        """Leave the current call behind, and make no more calls."""
        self._stopped.set()
        if self._current is not None:
            self._current.wake.set()

    def pause(self, seconds: float) -> bool:
        """Wait for so many seconds, or until `stop`; return whether to go on."""
        return not self._stopped.wait(seconds)

    def is_free(self) -> bool:
        """False once it is stopped, and while too many calls hang: each keeps a thread."""
        self._abandoned = [call for call in self._abandoned if not call.is_done]
        if len(self._abandoned) >= _MAX_ABANDONED:
            _log.error("%d refresh hooks hang: none is called until one ends", _MAX_ABANDONED)
            return False
        return not self._stopped.is_set()

    def _wait(self, call: _Call, beat: Callable[[], bool], period: float) -> HookResult:
        deadline = monotonic() + self._deadline
        while True:
            left = deadline - monotonic()
            call.wake.wait(max(0.0, min(left, period)))
            if self._stopped.is_set():
                return HookResult("stopped")
            is_ours = beat()
            if not is_ours:
                return HookResult("lost")
            if call.is_done:
                return HookResult("raised" if call.error else "done", call.error)
            if left <= 0:
                return HookResult("late")


class _Call:
    """One call. `wake` is set at its end, and by `HookRunner.stop`."""

    def __init__(self, hook: Callable[[Session], object], session: Session) -> None:
        self.wake = threading.Event()
        self.is_done = False
        self.error: BaseException | None = None
        self._hook = hook
        self._session = session

    def start(self) -> None:
        """Start it in a daemon thread: a hung one does not keep the process from ending."""
        threading.Thread(target=self._run, name="wsgi_sessions refresh hook", daemon=True).start()

    def _run(self) -> None:
        try:
            self._hook(self._session)
        except BaseException as error:  # noqa: BLE001  # the application's code: told to who waits
            self.error = error
        finally:
            self.is_done = True
            self.wake.set()
