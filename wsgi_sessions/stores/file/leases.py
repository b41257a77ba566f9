"""Leases in files: a small table per session, while it is in use.

A table lists holders and the claim, each with its expiry and its process. It is read and rewritten
under its lock, and removed under it with its last entry; a waiter for the lock of a removed table
starts again.

Each process keeps one file locked while it lives (`LivenessFile`). The kernel frees that lock at
its death, however it dies: its leases are then void at once. A process that lives but hangs loses
them when they expire. So the number of sessions in use costs no file descriptors.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import msgspec

from wsgi_sessions import texts
from wsgi_sessions.clock import monotonic, wall_clock
from wsgi_sessions.contract import LeaseInfo, Role
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.stores.file.disk.folders import make_private
from wsgi_sessions.stores.file.disk.life import LivenessFile
from wsgi_sessions.stores.file.disk.locking import LockedFile, lock_ours
from wsgi_sessions.stores.file.disk.retries import folder_fault, retrying
from wsgi_sessions.stores.file.disk.system import WRITE, swallow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")
_SPARE = 4096  # the most bytes of padding that a table keeps


@texts.shows("role", "expires_at", "ttl")
class Entry(msgspec.Struct, array_like=True):
    """A holder or a claim. `expires_at`: seconds since the epoch; `process`: see `LivenessFile`."""

    role: Role
    name: str
    process: str
    expires_at: float
    ttl: float


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[Entry])


class FileLeases:
    """`LeaseStore` in a session folder.

    `timeout`: seconds a call may wait for a table. `clock`: seconds since the epoch. If the clock
    is set forward, leases end early, and their next renewal acquires them again; if it is set back,
    no lease lasts longer than its ttl from its next check.
    """

    def __init__(
        self, folder: str, *, timeout: float = 1.0, clock: Callable[[], float] = wall_clock
    ) -> None:
        self._folder = os.path.join(folder, "leases")
        self._timeout = timeout
        self._clock = clock
        self._life = LivenessFile(folder)

    def acquire(self, key: str, holder: str, ttl: float) -> bool:
        """See `LeaseStore.acquire`."""

        def change(entries: list[Entry]) -> bool:
            if any(entry.role == "claim" and self._lives(entry) for entry in entries):
                return False
            self._put(entries, "holder", holder, ttl)
            return True

        return retrying("acquire", key, lambda key: self._change_or_create(key, change))

    def renew(self, key: str, holder: str, ttl: float) -> bool:
        """See `LeaseStore.renew`."""

        def change(entries: list[Entry]) -> bool:
            found = next((entry for entry in entries if entry.name == holder), None)
            if found is None:
                return False
            self._put(entries, found.role, holder, ttl)
            return True

        return retrying("renew", key, lambda key: self._change(key, change, absent=False))

    def release(self, key: str, holder: str) -> None:
        """See `LeaseStore.release`."""

        def change(entries: list[Entry]) -> None:
            _remove(entries, holder)

        retrying("release", key, lambda key: self._change(key, change, absent=None))

    def holders(self, key: str) -> int:
        """See `LeaseStore.holders`. It changes nothing."""
        return retrying("holders", key, self._count)

    def _count(self, key: str) -> int:
        try:
            entries = self._entries_at(self._path(key), key)
        except FileNotFoundError:
            return 0
        return sum(entry.role == "holder" and self._lives(entry) for entry in entries)

    def claim(self, key: str, holder: str, ttl: float) -> bool:
        """See `LeaseStore.claim`."""

        def change(entries: list[Entry]) -> bool:
            others = (entry for entry in entries if (entry.role, entry.name) != ("claim", holder))
            if any(map(self._lives, others)):
                return False
            entries.clear()  # remains of dead processes
            self._put(entries, "claim", holder, ttl)
            return True

        return retrying("claim", key, lambda key: self._change_or_create(key, change))

    def leases(self) -> Iterator[LeaseInfo]:
        """See `LeaseListing.leases`. Those of dead processes are left out."""
        for root, _, names in os.walk(self._folder):
            for key in names:
                yield from self._found_in(os.path.join(root, key), key)

    def remove_abandoned(self) -> int:
        """Remove tables without a live entry, and the files of dead processes."""
        return self._life.remove_dead() + sum(
            self._remove_if_abandoned(os.path.join(root, name))
            for root, _, names in os.walk(self._folder)
            for name in names
        )

    # -- inside --------------------------------------------------------------------------------

    def _found_in(self, path: str, key: str) -> list[LeaseInfo]:
        with folder_fault("leases"), suppress(FileNotFoundError):
            return self._leases_in(path, key)
        return []

    def _leases_in(self, path: str, key: str) -> list[LeaseInfo]:
        now = self._clock()
        return [
            LeaseInfo(key, entry.role, entry.name, entry.expires_at - now)
            for entry in self._entries_at(path, key)
            if self._lives(entry)
        ]

    def _entries_at(self, path: str, key: str) -> list[Entry]:
        """Return the entries that have not expired, for inspection: the table stays as it is.

        Raises FileNotFoundError.
        """
        deadline = monotonic() + self._timeout
        with lock_ours(path, WRITE, deadline, key, "the leases of session %s") as file:
            return self._timely(file.read())

    def _put(self, entries: list[Entry], role: Role, name: str, ttl: float) -> None:
        _remove(entries, name)
        entries.append(Entry(role, name, self._life.token(), self._clock() + ttl, ttl))

    def _lives(self, entry: Entry) -> bool:
        return self._life.is_alive(entry.process)

    def _path(self, key: str) -> str:
        return os.path.join(self._folder, key[:2], key)

    def _change_or_create(self, key: str, change: Callable[[list[Entry]], T]) -> T:
        path = self._path(key)
        while True:
            try:
                return self._change_at(path, key, change, WRITE | os.O_CREAT)
            except FileNotFoundError:
                make_private(self._folder, os.path.dirname(path))

    def _change(self, key: str, change: Callable[[list[Entry]], T], *, absent: T) -> T:
        try:
            return self._change_at(self._path(key), key, change, WRITE)
        except FileNotFoundError:
            return absent

    def _change_at(self, path: str, key: str, change: Callable[[list[Entry]], T], flags: int) -> T:
        """Apply `change` to the entries that have not expired. Raises FileNotFoundError."""
        deadline = monotonic() + self._timeout
        with lock_ours(path, flags, deadline, key, "the leases of session %s") as file:
            return self._rewrite(file, path, change)

    def _rewrite(self, file: LockedFile, path: str, change: Callable[[list[Entry]], T]) -> T:
        before = file.read()
        entries = self._timely(before)
        result = change(entries)
        if not entries:
            os.unlink(path)
        elif (after := _encoder.encode(entries)) != before.rstrip():
            _write(file, after, len(before))
        return result

    def _timely(self, data: bytes) -> list[Entry]:
        now = self._clock()
        entries = _parse(data)
        for entry in entries:
            entry.expires_at = min(entry.expires_at, now + entry.ttl)  # the clock was set back
        return [entry for entry in entries if entry.expires_at > now]

    def _remove_if_abandoned(self, path: str) -> bool:
        def change(entries: list[Entry]) -> None:
            entries[:] = [entry for entry in entries if self._lives(entry)]

        try:
            self._change_at(path, os.path.basename(path), change, WRITE)
            return not os.path.exists(path)
        except FileNotFoundError:
            return False
        except (OSError, StoreUnavailable) as error:
            swallow(error, "an unused lease stays until the next sweep")
            return False


def _parse(data: bytes) -> list[Entry]:
    try:
        return _decoder.decode(data) if data else []
    except (msgspec.DecodeError, ValueError):
        # A writer was killed between two pages of a large table. Living holders acquire again at
        # their next renewal.
        return []


def _remove(entries: list[Entry], name: str) -> None:
    entries[:] = [entry for entry in entries if entry.name != name]


def _write(file: LockedFile, data: bytes, old_size: int) -> None:
    """Replace a table.

    Blanks cover its former content, so that a killed writer leaves no mixture of the two: JSON may
    end with blanks.
    """
    file.write(data.ljust(old_size), 0)
    if old_size - len(data) > _SPARE:
        file.cut(len(data))
