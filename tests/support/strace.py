"""Faults of the kernel for a running process: strace makes chosen system calls fail.

Only calls that concern one path can be meant, and only the n-th of them; see "Tampering" in
strace(1). Linux alone has it, and a container may forbid ptrace.
"""

from __future__ import annotations

import functools
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

LINK, RENAME, UNLINK = "?link,linkat", "?rename,renameat,?renameat2", "?unlink,unlinkat"
_SECONDS = 10.0


class Strace:
    """strace, attached to a process and all its threads while in the context.

    `calls` are system calls, separated by commas, each with a "?" in front if not every
    architecture has it. `action` is what happens to them: ``error=EIO`` or ``signal=SIGKILL``, with
    ``:when=2`` to the second one only. `path` limits it to calls on this path (or these) or its
    descriptors.
    """

    def __init__(
        self, pid: int, calls: str, action: str, *, path: str | Sequence[str] | None = None
    ) -> None:
        fd, self._report = tempfile.mkstemp(prefix="ws-strace-")
        os.close(fd)
        paths = [path] if isinstance(path, str) else path or ()
        only = [word for one in paths for word in ("-P", one)]
        tamper = ["-e", f"trace={calls}", "-e", f"inject={calls}:{action}"]
        self._process = subprocess.Popen(
            ["strace", "-f", "-o", self._report, "-p", str(pid), *only, *tamper],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        try:
            self._wait_until_attached()
        except BaseException:
            self.detach()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.detach()

    def detach(self) -> int:
        """Let the process go; how many calls were tampered with. Idempotent."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(_SECONDS)
        if self._process.stderr is not None:
            self._process.stderr.close()
        report = Path(self._report)
        if report.exists():
            self._injected = report.read_text(errors="replace").count("(INJECTED)")
            report.unlink()
        return self._injected

    def _wait_until_attached(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None
        said, deadline = b"", time.monotonic() + _SECONDS
        while b"attached" not in said:
            ready, _, _ = select.select([stderr], [], [], max(0, deadline - time.monotonic()))
            more = os.read(stderr.fileno(), 4096) if ready else b""
            if not more:
                raise AssertionError(f"strace did not attach: {said.decode(errors='replace')}")
            said += more


@functools.cache
def unavailable() -> str | None:
    """Why no faults can be injected here, or None if they can: tried on a process of our own."""
    if shutil.which("strace") is None:
        return "no strace: install the package of this name"
    sleeper = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=-1)
    try:
        with Strace(sleeper.pid, "read", "error=EIO"):
            return None
    except AssertionError as error:
        return f"ptrace is not permitted: {error}"
    finally:
        sleeper.kill()
        sleeper.communicate()
