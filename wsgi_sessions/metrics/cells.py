"""The numbers of one process, in a file that all processes of a server can read.

The file is mapped into memory and shared with the kernel, so a number that was added is kept
however the process ends. It names its own series: a process of another version can read it.

=============  ====================================================================
bytes          content
=============  ====================================================================
0 to 7         a magic text with the number of this format
8 to 15        the bytes of the table of series that are in use
16 to 16400    the values: float64 in the machine's own order
then           the table: a JSON array a line, of metric, labels, first value, width
=============  ====================================================================
"""

from __future__ import annotations

import json
import mmap
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from wsgi_sessions import texts
from wsgi_sessions.metrics.catalogue import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wsgi_sessions.metrics.catalogue import Metric

_MAGIC = b"WSMETRI1"
_VALUES = 2048
_TABLE_AT = 16 + 8 * _VALUES
FILE_BYTES = 65536
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_STICKY = 0o1600  # systemd-tmpfiles never removes such a file, however old
_log = texts.log(__name__)


@texts.shows("metric", "labels")
class SeriesKey(NamedTuple):
    """One series: a metric's name, and the words of its labels."""

    metric: str
    labels: tuple[str, ...]


class Cells:
    """The values of one process, to be changed under `lock`.

    `values[i]` is the value with that number; `place` gives the numbers of a series.
    """

    def __init__(self, memory: mmap.mmap) -> None:
        self.lock = threading.Lock()
        self._memory = memory
        self._used = memoryview(memory)[8:16].cast("Q")
        self.values = memoryview(memory)[16:_TABLE_AT].cast("d")
        self._taken = 0
        self._places: dict[SeriesKey, int] = {}
        memory[:8] = _MAGIC

    def place(self, metric: Metric, *labels: str) -> int:
        """Return the number of the first value of a series, which begins at zero.

        The last values are a common place for all series that find no room: those are not shown.
        """
        key = SeriesKey(metric.name, labels)
        with self.lock:
            found = self._places.get(key)
            if found is None:
                found = self._places[key] = self._begin(key, metric.width)
        return found

    def _begin(self, key: SeriesKey, width: int) -> int:
        line = json.dumps([key.metric, key.labels, self._taken, width]).encode() + b"\n"
        start = _TABLE_AT + self._used[0]
        if self._taken + width > _VALUES - 32 or start + len(line) > FILE_BYTES:
            _log.warning("there is no room for more metrics in this process: %s", key.metric)
            return _VALUES - 32
        place, self._taken = self._taken, self._taken + width
        self._memory[start : start + len(line)] = line
        self._used[0] += len(line)  # last: readers see whole lines
        return place


def in_file(path: str) -> Cells:
    """Return the cells of this process in a new file (0600). Raises OSError.

    It is written in full first: a page without a place on the disk would kill the process later.
    """
    fd = os.open(path, _CREATE, 0o600)
    try:
        with suppress(OSError):  # the mode is not allowed everywhere
            os.fchmod(fd, _STICKY)
        with open(fd, "wb", closefd=False) as file:
            file.write(bytes(FILE_BYTES))
        return Cells(mmap.mmap(fd, FILE_BYTES))
    except BaseException:
        os.unlink(path)
        raise
    finally:
        os.close(fd)


def in_memory() -> Cells:
    """Return cells that no other process sees."""
    return Cells(mmap.mmap(-1, FILE_BYTES))


def read(path: str) -> dict[SeriesKey, list[float]]:
    """Return the series in the file of any process. Raises OSError.

    A file that is not (yet) of this format has none. Through a mapping, not `read`: each value is
    then loaded as a whole, while its process changes it.
    """
    fd = os.open(path, _READ)
    try:
        if os.fstat(fd).st_size != FILE_BYTES:
            return {}
        with mmap.mmap(fd, FILE_BYTES, access=mmap.ACCESS_READ) as memory:
            return dict(_series(memory)) if memory[:8] == _MAGIC else {}
    finally:
        os.close(fd)


def _series(memory: mmap.mmap) -> Iterator[tuple[SeriesKey, list[float]]]:
    with memoryview(memory) as whole, whole[8:16] as head, head.cast("Q") as used:
        table = memory[_TABLE_AT : _TABLE_AT + used[0]]
    with memoryview(memory) as whole, whole[16:_TABLE_AT] as part, part.cast("d") as values:
        for line in table.splitlines():
            name, labels, start, width = json.loads(line)
            if fits(name, labels, width):
                yield SeriesKey(name, tuple(labels)), [values[start + n] for n in range(width)]


def fits(name: str, labels: Sequence[str], width: int) -> bool:
    """Return whether a series is one of this version's catalogue."""
    metric = CATALOGUE.get(name)
    return metric is not None and (len(metric.labels), metric.width) == (len(labels), width)
