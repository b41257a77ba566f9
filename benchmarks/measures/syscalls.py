"""What a request asks of the kernel, and sends to a server: counted, not timed."""

from __future__ import annotations

import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import strace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.harness.child import Child

REQUESTS = 200
# Made by the child itself between two commands of its parent, or by the interpreter at leisure.
_OWN = {"read": 1, "write": 1}


def count_calls(child: Child, paths: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Per request and path: system calls by name and in all, and those that sent to a server.

    Nothing where there is no strace.
    """
    if strace.unavailable() is not None:
        return {}
    found = {}
    for path in paths:
        child.timer(path)(REQUESTS)
        by_name = _traced(child, path)
        sent = sum(by_name.get(name, 0) for name in ("sendto", "sendmsg", "writev"))
        found[path] = {"total": sum(by_name.values()), "sent": sent, "by name": by_name}
    return found


def _traced(child: Child, path: str) -> dict[str, float]:
    with tempfile.NamedTemporaryFile() as report:
        command = ["strace", "-f", "-c", "-o", report.name, "-p", str(child.pid)]
        tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert tracer.stderr is not None
        while b"attached" not in tracer.stderr.readline():
            if tracer.poll() is not None:
                return {}
        child.timer(path)(REQUESTS)
        time.sleep(0.05)
        tracer.send_signal(signal.SIGINT)
        tracer.communicate()
        return parse(Path(report.name).read_text())


def parse(report: str) -> dict[str, float]:
    """Lines such as ``  3.10  0.000101   0   400       12 openat``."""
    found = {}
    for calls, name in re.findall(
        r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+)(?: +\d+)? +(\w+)$", report, re.MULTILINE
    ):
        count = int(calls) - _OWN.get(name, 0)
        if name != "total" and count >= REQUESTS / 20:
            found[name] = round(count / REQUESTS, 2)
    return found
