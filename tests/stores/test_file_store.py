"""What is special to files: damage, foreign files, folders, leftovers, permissions."""

from __future__ import annotations

import errno
import fcntl
import itertools
import logging
import os
import random
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from zlib import crc32

import pytest
from msgspec.structs import replace
from redis_servers import wait_until

from wsgi_sessions.contract import Record
from wsgi_sessions.errors import (
    ConfigurationError,
    LockTimeout,
    SessionError,
    SessionExists,
    SessionGone,
    StoreUnavailable,
    UnsupportedFormat,
    VersionConflict,
)
from wsgi_sessions.identity import new_id, store_key
from wsgi_sessions.stores.file.backend import open_files
from wsgi_sessions.stores.file.disk import locking
from wsgi_sessions.stores.file.records import RecordFiles
from wsgi_sessions.stores.file.sessions import FileStore
from wsgi_sessions.stores.file.slots import (
    MIN_FILE_BYTES,
    Slots,
    newest,
    next_place,
    pack_file,
    pack_slot,
    parse,
    place,
)
from wsgi_sessions.stores.memory.backend import open_memory
from wsgi_sessions.stores.sweeper import CHUNK, Sweeper

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = store_key(new_id())
FUTURE = time.time() + 10_000
OLD, NEW = Record(1, b"old payload", FUTURE), Record(2, b"new payload!", FUTURE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


@pytest.fixture
def store(folder: Path) -> FileStore:
    return FileStore(str(folder), timeout=0.2)


def path_of(folder: Path, key: str = KEY) -> Path:
    return folder / "sessions" / key[:2] / key


def with_two_versions(store: FileStore) -> Path:
    store.create(KEY, OLD.payload, OLD.expires_at)
    store.save(KEY, NEW.payload, NEW.expires_at, expected_version=1)
    return _path(store)


def _path(store: FileStore) -> Path:
    return path_of(Path(store.folder))


# -- damage ------------------------------------------------------------------------------------


def test_a_file_cut_at_any_place_is_the_record_an_older_one_or_none(store: FileStore) -> None:
    path = with_two_versions(store)
    whole = path.read_bytes()
    seen = set()
    for length in [*range(300), *range(300, len(whole), 61), len(whole)]:
        path.write_bytes(whole[:length])
        record = store.load(KEY)
        assert record in (None, OLD, NEW)
        seen.add(record)
    assert seen == {None, NEW} or seen == {None, OLD, NEW}
    path.write_bytes(whole)
    assert store.load(KEY) == NEW


def test_each_flipped_bit_gives_the_record_an_older_one_or_none(store: FileStore) -> None:
    path = with_two_versions(store)
    whole = path.read_bytes()
    used = [*range(120), *range(len(whole) // 2, len(whole) // 2 + 120)]
    for position in used:
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << bit
            path.write_bytes(damaged)
            try:
                assert store.load(KEY) in (None, OLD, NEW)
            except UnsupportedFormat:
                assert path.read_bytes() == damaged


def test_a_damaged_touch_is_ignored(store: FileStore) -> None:
    path = with_two_versions(store)
    store.touch(KEY, FUTURE + 500)
    whole = path.read_bytes()
    for position in range(32):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << bit
            path.write_bytes(damaged)
            assert store.load(KEY) in (NEW, replace(NEW, expires_at=FUTURE + 500))


def test_a_file_that_grew_is_damaged_not_an_older_record(store: FileStore) -> None:
    path = with_two_versions(store)
    path.write_bytes(path.read_bytes() + bytes(4096))
    assert store.load(KEY) is None
    assert store.quarantined() == 1


def test_a_torn_write_leaves_the_record_before_it(store: FileStore) -> None:
    """Every prefix of the bytes that a commit writes, as a crash would leave them."""
    path = with_two_versions(store)
    whole = path.read_bytes()
    slots = parse(whole, KEY)
    start, capacity = place(len(whole), 1 - slots.newest)
    torn = pack_slot(Record(3, b"never acknowledged", FUTURE), KEY, capacity)
    for length in range(1, len(torn)):
        path.write_bytes(whole[:start] + torn[:length] + whole[start + length :])
        assert store.load(KEY) == NEW
        assert store.save(KEY, b"next", FUTURE, expected_version=2) == 3


def test_a_sweep_in_chunks_goes_around_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(str(tmp_path / "s"), clock=lambda: FUTURE)
    for number in range(300):
        expires_at = FUTURE - 1 if number % 2 else FUTURE + 100
        store.create(store_key(f"id-{number}"), b"x", expires_at)
    looked = []
    judge = RecordFiles.delete_if_expired

    def counted(files: RecordFiles, key: str) -> Record | None:
        looked.append(key)
        return judge(files, key)

    monkeypatch.setattr(RecordFiles, "delete_if_expired", counted)
    chunks = [store.delete_expired(10) for _ in range(16)]
    assert chunks == [10] * 15 + [0]
    # The last call looks at the 150 live ones again, to see that nothing is left.
    assert len(looked) <= 300 + 150 + 16 * 4


@pytest.mark.parametrize("is_newest", [False, True])
@pytest.mark.parametrize("position", [0, 3, 4, 7, 8, 12, 16, 23, 24, 32, 47, 48, 49])
def test_a_torn_slot_is_never_served(store: FileStore, is_newest: bool, position: int) -> None:
    """Damage anywhere. What is in the way is repaired once, what is not is overwritten next."""
    path = with_two_versions(store)
    whole = bytearray(path.read_bytes())
    slots = parse(bytes(whole), KEY)
    slot = slots.newest if is_newest else 1 - slots.newest
    start = place(len(whole), slot)[0]
    whole[start + position] ^= 1
    path.write_bytes(whole)
    assert parse(bytes(whole), KEY).torn == (slot,)
    assert store.load(KEY) == (OLD if is_newest else NEW)
    is_repaired = is_newest or position in (16, 23)  # its version
    assert parse(path.read_bytes(), KEY).torn == (() if is_repaired else (slot,))
    version = OLD.version if is_newest else NEW.version
    store.save(KEY, b"next", FUTURE, expected_version=version)
    assert parse(path.read_bytes(), KEY) == Slots(Record(version + 1, b"next", FUTURE), slot, ())


def test_a_save_looks_closely_unless_all_is_plain(store: FileStore) -> None:
    path = with_two_versions(store)
    whole = path.read_bytes()
    slot = parse(whole, KEY).newest
    start, other = (place(len(whole), number)[0] for number in (slot, 1 - slot))
    assert next_place(whole, 2, FUTURE - 1) == place(len(whole), 1 - slot)
    assert next_place(pack_file(OLD, KEY), 1, 0.0) == place(len(pack_file(OLD, KEY)), 1)
    assert [next_place(whole, version, 0.0) for version in (0, 1, 3)] == [None] * 3
    assert next_place(whole, 2, FUTURE) is None, "expired, unless a touch says otherwise"
    for version in (0, 2, 3):
        changed = whole[: other + 16] + struct.pack(">Q", version) + whole[other + 24 :]
        assert next_place(changed, 2, 0.0) is None
    newer = whole[: start + 7] + b"\2" + whole[start + 8 :]
    assert next_place(newer, 2, 0.0) is None
    assert next_place(whole[:100], 2, 0.0) is None


@pytest.mark.parametrize("earlier", [1, 2, 253, 254, 255, 65534, 65535])
@pytest.mark.parametrize("slot", [0, 1])
def test_a_read_while_versions_change_counts_if_it_is_current(earlier: int, slot: int) -> None:
    """A reader may see a slot as it was, and of the other, which two saves later is being written
    for the second time, some bytes of each. Then what it saw first is two versions old."""
    size = MIN_FILE_BYTES
    start, capacity = place(size, slot)
    other = place(size, 1 - slot)[0]
    first, second, third = (
        pack_slot(Record(version, b"x", FUTURE), KEY, capacity)
        for version in (earlier, earlier + 1, earlier + 3)
    )
    whole = bytearray(size)
    whole[start : start + len(first)] = first
    differing = [i for i in range(16, 24) if second[i] != third[i]]
    for taken in itertools.product((False, True), repeat=len(differing)):
        mixed = bytearray(second)
        for i, is_new in zip(differing, taken, strict=True):
            mixed[i] = third[i] if is_new else second[i]
        whole[other : other + len(mixed)] = mixed
        found = newest(bytes(whole), KEY)
        assert found is None or found[0].version == earlier + 1


def test_a_damaged_file_is_set_aside_never_served(
    store: FileStore, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = with_two_versions(store)
    path.write_bytes(b"garbage" * 600)
    told: list[str] = []
    store.report_to(lambda key, _: told.append(key))
    assert store.load(KEY) is None
    assert told == [KEY]
    assert not path.exists()
    assert store.quarantined() == 1
    assert "set aside" in caplog.text
    assert KEY not in caplog.text
    with pytest.raises(SessionGone):
        store.save(KEY, b"late", FUTURE, expected_version=2)


def test_a_save_to_a_damaged_file_is_refused(store: FileStore) -> None:
    path = with_two_versions(store)
    path.write_bytes(b"\xff" * 4096)
    with pytest.raises(SessionGone):
        store.save(KEY, b"x", FUTURE, expected_version=2)


def test_a_record_under_another_key_is_refused(store: FileStore, folder: Path) -> None:
    other = store_key(new_id())
    path = with_two_versions(store)
    target = path_of(folder, other)
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(path.read_bytes())
    assert store.load(other) is None
    assert store.quarantined() == 1
    assert store.load(KEY) == NEW


def test_the_latest_damaged_files_are_kept_for_a_look(store: FileStore, folder: Path) -> None:
    keys = [store_key(new_id()) for _ in range(103)]
    for number, key in enumerate(keys):
        path = path_of(folder, key)
        path.parent.mkdir(exist_ok=True)
        if number == 0:
            path.mkdir()
            (path / "inside").write_text("")
        else:
            path.write_bytes(b"damaged")
        assert store.load(key) is None
    kept = [path.name for path in sorted((folder / "quarantine").iterdir())]
    assert [name[-64:] for name in kept] == keys[3:]
    store._quarantine.take(str(path), key, "somebody else was faster")
    assert store.quarantined() == 100


def test_an_index_entry_is_added_at_the_second_try_and_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = open_files(str(folder)).index
    utime = os.utime

    def once(*args: Any) -> None:
        monkeypatch.setattr(os, "utime", utime)
        raise OSError(errno.EIO, "for the test")

    monkeypatch.setattr(os, "utime", once)
    index.add("alice", KEY, FUTURE)
    assert index.keys_of("alice") == [KEY]
    index.remove("alice", KEY)
    assert [path for path in (folder / "index").rglob("*") if len(path.name) == 64] == []


def test_a_newer_format_is_left_alone(store: FileStore) -> None:
    path = with_two_versions(store)
    whole = bytearray(path.read_bytes())
    slots = parse(bytes(whole), KEY)
    whole[place(len(whole), slots.newest)[0] + 7] = 2
    path.write_bytes(whole)
    for _ in range(2):
        with pytest.raises(UnsupportedFormat):
            store.load(KEY)
        with pytest.raises(UnsupportedFormat):
            store.save(KEY, b"x", FUTURE, expected_version=2)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("expiry", [float("nan"), float("inf"), float("-inf"), -1.0])
def test_a_record_with_an_invalid_expiry_is_damaged(store: FileStore, expiry: float) -> None:
    path = _path(store)
    path.parent.mkdir()
    path.write_bytes(pack_file(Record(1, b"x", expiry), KEY))
    assert store.load(KEY) is None


def test_an_expiry_far_away_is_an_expiry(store: FileStore) -> None:
    store.create(KEY, b"x", 2.0**63)
    assert store.load(KEY) == Record(1, b"x", 2.0**63)


@pytest.mark.parametrize("field", range(4))
def test_lengths_that_lie_are_damage(store: FileStore, field: int) -> None:
    path = _path(store)
    path.parent.mkdir()
    data = bytearray(pack_file(Record(1, b"x" * 50, FUTURE), KEY))
    struct.pack_into(">I", data, 32 + 8 + 4 * (field % 2), (0xFFFFFFFF, 4000, 0, 2**31)[field])
    (length,) = struct.unpack_from(">I", data, 32 + 12)
    struct.pack_into(">I", data, 32, crc32(data[32 + 4 : 32 + 48 + length]))  # as if all were well
    path.write_bytes(data)
    assert store.load(KEY) is None


# -- what is no file of ours -------------------------------------------------------------------


def save_is_refused(store: FileStore) -> None:
    with pytest.raises(SessionGone):
        store.save(KEY, b"x", FUTURE, expected_version=1)


def make_link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def make_dangling_link(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


def make_folder(path: Path) -> None:
    path.mkdir()


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        here = os.getcwd()
        os.chdir(path.parent)  # the name of a socket must be short
        try:
            sock.bind(path.name)
        finally:
            os.chdir(here)


@pytest.mark.parametrize(
    "make",
    [make_link, make_dangling_link, os.mkfifo, make_folder, make_socket],
)
def test_foreign_files_are_quarantined(store: FileStore, make: Any) -> None:
    path = _path(store)
    acts: list[Callable[[], object]] = [
        lambda: store.load(KEY),
        lambda: store.touch(KEY, FUTURE),
        lambda: save_is_refused(store),
        lambda: store.delete(KEY),
    ]
    for act in acts:
        path.parent.mkdir(exist_ok=True)
        if not os.path.lexists(path):
            make(path)
        act()
        assert store.load(KEY) is None
        assert not os.path.lexists(path)


# -- the folder --------------------------------------------------------------------------------


def test_modes_are_private(store: FileStore, folder: Path) -> None:
    with_two_versions(store)
    store.save(KEY, b"x" * 10_000, FUTURE, expected_version=2)
    backend = open_files(str(folder))
    backend.index.add("alice", KEY, FUTURE)
    assert backend.secret is not None
    backend.secret.secret()
    damaged = store_key(new_id())
    store.create(damaged, b"x", FUTURE)
    path_of(folder, damaged).write_bytes(b"")
    assert store.load(damaged) is None
    for path in [folder, *folder.rglob("*")]:
        mode = stat.S_IMODE(path.lstat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_a_private_folder_under_a_generous_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = FileStore(str(tmp_path / "deep" / "sessions"))
        store.create(KEY, b"x", FUTURE)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "deep" / "sessions").stat().st_mode) == 0o700
    assert stat.S_IMODE(_path(store).stat().st_mode) == 0o600


def test_a_folder_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    for name in ("file", "file/below", "link", "open"):
        with pytest.raises(ConfigurationError, match=str(tmp_path / name)):
            FileStore(str(tmp_path / name))


def test_a_read_only_folder_stops_the_start(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigurationError):
        FileStore(str(tmp_path))


def test_a_folder_that_vanishes_is_a_fault_not_an_empty_store(
    store: FileStore, folder: Path
) -> None:
    with_two_versions(store)
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(StoreUnavailable, match="gone or not mounted"):
        store.load(KEY)
    with pytest.raises(StoreUnavailable):
        store.save(KEY, b"x", FUTURE, expected_version=2)
    with pytest.raises(StoreUnavailable):
        store.create(store_key(new_id()), b"x", FUTURE)
    with pytest.raises(StoreUnavailable):
        store.delete(KEY)
    with pytest.raises(StoreUnavailable):
        store.touch(KEY, FUTURE + 5)
    with pytest.raises(StoreUnavailable):
        store.ping()
    assert not folder.exists()
    folder.with_name("elsewhere").rename(folder)
    assert store.load(KEY) == NEW


def test_existing_files_need_no_migration(store: FileStore, folder: Path) -> None:
    with_two_versions(store)
    assert FileStore(str(folder)).load(KEY) == NEW


def test_a_lock_that_is_never_free_is_a_fault_at_the_deadline(store: FileStore) -> None:
    path = with_two_versions(store)
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert store.load(KEY) == NEW  # readers do not wait
        started = time.monotonic()
        for call in (
            lambda: store.save(KEY, b"x", FUTURE, expected_version=2),
            lambda: store.delete(KEY),
            lambda: store.touch(KEY, FUTURE + 5),
        ):
            with pytest.raises(LockTimeout):
                call()
        assert time.monotonic() - started < 10
    assert store.save(KEY, b"x", FUTURE, expected_version=2) == 3


class Waiting:
    """Tells when somebody has found a lock taken, and waits for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.has_begun = threading.Event()
        self._wait = locking.wait_for_lock
        monkeypatch.setattr(locking, "wait_for_lock", self._spy)

    def _spy(self, *args: Any, **more: Any) -> None:
        self.has_begun.set()
        self._wait(*args, **more)

    def while_others_change(self, path: Path, act: Any, change: Callable[[], object]) -> Any:
        """What comes of `act`, which finds `path` locked and waits while `change` is made."""
        outcome: list[Any] = []

        def run() -> None:
            try:
                outcome.append(act())
            except SessionError as error:
                outcome.append(type(error))

        thread = threading.Thread(target=run)
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            thread.start()
            assert self.has_begun.wait(10)
            change()
        thread.join(10)
        return outcome[0]


def test_a_waiter_for_a_file_that_is_gone_looks_for_it_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written to a file without a name is lost, although its version is the expected."""
    store = FileStore(str(folder), timeout=10)
    path = with_two_versions(store)
    grown = Record(3, b"x" * 10_000, FUTURE)

    def grow() -> None:
        path.with_name("new").write_bytes(pack_file(grown, KEY))
        path.with_name("new").rename(path)

    def save() -> int:
        return store.save(KEY, b"late", FUTURE, expected_version=2)

    assert Waiting(monkeypatch).while_others_change(path, save, grow) is VersionConflict
    assert store.load(KEY) == grown
    assert Waiting(monkeypatch).while_others_change(path, save, path.unlink) is SessionGone
    assert store.load(KEY) is None


def test_a_record_that_came_to_life_while_a_sweep_waited_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a process whose clock is late, for which it had not expired."""
    store = FileStore(str(folder), timeout=10)
    store.create(KEY, b"x", 1.0)
    path = _path(store)

    def revive() -> None:
        path.write_bytes(pack_file(NEW, KEY))

    def sweep() -> int:
        return store.delete_expired(10)

    assert Waiting(monkeypatch).while_others_change(path, sweep, revive) == 0
    assert store.load(KEY) == NEW


def test_nothing_stays_open_after_a_failure(store: FileStore, folder: Path) -> None:
    path = with_two_versions(store)
    locks = open_files(str(folder)).locks
    stranger = store_key(new_id())
    path_of(folder, stranger).parent.mkdir(exist_ok=True)
    before = len(os.listdir("/dev/fd"))
    with path.open("rb") as file, locks.hold(KEY, 1):
        fcntl.flock(file, fcntl.LOCK_EX)
        for _ in range(3):
            with pytest.raises(LockTimeout):
                store.delete(KEY)
            with pytest.raises(LockTimeout), locks.hold(KEY, 0):
                pytest.fail("held twice")
            for use in (store.delete, store.load):
                os.mkfifo(path_of(folder, stranger))
                use(stranger)
    assert len(os.listdir("/dev/fd")) == before


def test_a_lock_file_is_removed_before_its_lock_is_free(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else who gets the lock next would hold a file that others do not find."""
    locks = open_files(str(folder)).locks
    unlock = locking.unlock
    seen: list[bool] = []

    def spy(fd: int) -> None:
        seen.append((folder / "locks" / KEY).exists())
        unlock(fd)

    monkeypatch.setattr(locking, "unlock", spy)
    with locks.hold(KEY, 1):
        assert (folder / "locks" / KEY).exists()
    assert seen == [False]


def test_a_temporary_that_a_sweep_took_before_it_was_locked_is_made_again(
    store: FileStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with_two_versions(store)
    try_lock = locking.try_lock
    taken: list[Path] = []

    def take_first(fd: int) -> bool:
        for path in Path(store.folder).rglob(".tmp-*"):
            if not taken:
                taken.append(path)
                path.unlink()
        return try_lock(fd)

    monkeypatch.setattr(locking, "try_lock", take_first)
    store.save(KEY, b"x" * 10_000, FUTURE, expected_version=2)
    assert len(taken) == 1
    assert store.load(KEY) == Record(3, b"x" * 10_000, FUTURE)
    assert caplog.text == "", "and without a retry of the whole operation"


def test_short_reads_and_writes_go_on_to_the_end(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, pwrite = os.read, os.pwrite
    monkeypatch.setattr(os, "read", lambda fd, size: read(fd, min(size, 700)))
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, data[:700], at))
    payload = os.urandom(5000)
    store.create(KEY, payload, FUTURE)
    assert store.load(KEY) == Record(1, payload, FUTURE)
    store.save(KEY, payload[::-1], FUTURE, expected_version=1)
    assert store.load(KEY) == Record(2, payload[::-1], FUTURE)
    assert parse(_path(store).read_bytes(), KEY).torn == ()


def failing(code: int) -> Any:
    """A system call that always fails."""

    def call(*_: Any, **__: Any) -> Any:
        raise OSError(code, os.strerror(code))

    return call


def test_a_file_system_without_links_creates_and_never_replaces(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    store.create(KEY, b"first", FUTURE)
    with pytest.raises(SessionExists):
        store.create(KEY, b"second", FUTURE)
    assert store.load(KEY) == Record(1, b"first", FUTURE)
    assert list(_path(store).parent.iterdir()) == [_path(store)]


@pytest.mark.parametrize("call", ["link", "rename", "pwrite"])
def test_a_call_that_fails_for_ever_leaves_the_old_record_and_no_temporary(
    store: FileStore, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = with_two_versions(store)
    other = store_key(new_id())
    monkeypatch.setattr(os, call, failing(errno.EIO))
    if call != "rename":
        with pytest.raises(StoreUnavailable, match="4 times, last with Input/output error"):
            store.create(other, b"x", FUTURE)
    if call != "link":
        with pytest.raises(StoreUnavailable, match="Input/output error"):
            store.save(KEY, b"x" * 10_000, FUTURE, expected_version=2)
    monkeypatch.undo()
    assert store.load(KEY) == NEW
    assert store.load(other) is None
    assert list(path.parent.iterdir()) == [path]
    assert list(Path(store.folder).rglob(".tmp-*")) == []


def test_a_torn_slot_that_cannot_be_repaired_is_read_all_the_same(
    store: FileStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = with_two_versions(store)
    whole = bytearray(path.read_bytes())
    whole[51] ^= 8  # the version in the slot of the older record
    path.write_bytes(whole)
    monkeypatch.setattr(os, "pwrite", failing(errno.EROFS))
    assert store.load(KEY) == NEW
    assert "torn slot" in caplog.text


def test_setting_aside_never_fails_a_request(
    store: FileStore, caplog: pytest.LogCaptureFixture
) -> None:
    path = with_two_versions(store)
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        store.set_aside(KEY, 2, "for the test")
    assert "could not be set aside" in caplog.text
    assert store.load(KEY) == NEW
    store.set_aside(KEY, 1, "of another version")
    assert store.load(KEY) == NEW
    path.write_bytes(b"\xff" * 4096)
    store.set_aside(KEY, 2, "damaged since")
    assert store.quarantined() == 1
    assert not path.exists()


def test_other_records_among_the_sessions_are_passed_over(store: FileStore) -> None:
    path = with_two_versions(store)
    (path.parent / ".tmp-1-being-written").write_text("")
    (path.parent.parent / "README").write_text("")
    dead, link = (f"{KEY[:2]}{number:062x}" for number in (1, 2))
    store.create(dead, b"x", 1.0)
    path.with_name(link).symlink_to("nowhere")
    assert store.delete_expired(10) == 1
    assert list(store.keys()) == [KEY]


def room(*, free: int = 50, free_inodes: int = 50, inodes: int = 100) -> Any:
    """What `os.statvfs` says, in percent."""
    return lambda _: SimpleNamespace(
        f_frsize=4096, f_bavail=free, f_blocks=100, f_favail=free_inodes, f_files=inodes
    )


@pytest.mark.parametrize("short", ["free", "free_inodes"])
def test_a_file_system_that_is_nearly_full_is_warned_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, short: str
) -> None:
    backend = open_files(str(folder))
    assert backend.advice is not None
    assert backend.leftovers is not None
    what = "inodes" if short == "free_inodes" else "is free"
    for percent in (3, 1, 1, 3, 1):
        monkeypatch.setattr(os, "statvfs", room(**{short: percent}))
        backend.leftovers.remove_leftovers()
        found = backend.advice.warnings()
        assert [what in text for text in found] == [True] * (percent == 1)
    assert caplog.text.count("2 %") == 2  # each time that it becomes short


def test_a_file_system_that_counts_no_inodes_is_not_warned_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = open_files(str(folder))
    monkeypatch.setattr(os, "statvfs", room(free_inodes=0, inodes=0))
    assert backend.advice is not None
    assert backend.diagnosis is not None
    assert backend.advice.warnings() == []
    assert "free_inodes_percent" not in backend.diagnosis.facts()


@pytest.mark.parametrize("is_inodes", [True, False])
def test_the_remedy_for_no_space_says_what_is_short(
    store: FileStore, monkeypatch: pytest.MonkeyPatch, is_inodes: bool
) -> None:
    monkeypatch.setattr(os, "statvfs", room(free=20, free_inodes=0 if is_inodes else 10))
    opens = os.open

    def no_new_file(path: Any, flags: int, *args: Any, **more: Any) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, "No space left on device", path)
        return opens(path, flags, *args, **more)

    monkeypatch.setattr(os, "open", no_new_file)
    expected = r"inodes \(df -i\)" if is_inodes else "Free space"
    with pytest.raises(StoreUnavailable, match=expected):
        store.create(store_key(new_id()), b"x", FUTURE)


def test_a_forked_child_does_not_keep_the_lock(store: FileStore) -> None:
    """A child forked while the lock is held has the descriptor too; it must not block others."""
    with_two_versions(store)
    with store._files._locked(KEY):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
            os._exit(0)
    try:
        assert store.save(KEY, b"x", FUTURE, expected_version=2) == 3
    finally:
        for process in (pid, child.pid):
            os.kill(process, 9)
        os.waitpid(pid, 0)
        child.wait()


@pytest.mark.parametrize(
    ("fsync", "calls"),
    [
        ("none", []),
        ("data", ["fdatasync file"] * 3),
        ("full", ["fsync file", "fsync folder"] + ["fsync file"] * 2 + ["fsync folder"] * 2),
    ],
)
def test_every_fsync_policy_stores_and_deletes(
    folder: Path, fsync: Any, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Created, saved in place, replaced by a larger file, deleted."""
    seen: list[str] = []

    def spy(name: str, sync: Any) -> Any:
        def call(fd: int) -> None:
            kind = "folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file"
            seen.append(f"{name} {kind}")
            sync(fd)

        return call

    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, spy(name, getattr(os, name)))
    store = FileStore(str(folder), fsync=fsync)
    with_two_versions(store)
    store.save(KEY, b"x" * 10_000, FUTURE, expected_version=2)
    assert store.load(KEY) == Record(3, b"x" * 10_000, FUTURE)
    store.delete(KEY)
    assert store.load(KEY) is None
    assert seen == calls


def test_a_failed_fsync_is_not_retried_on_the_same_pages(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record goes through a file of its own; if that fails too, the old one stands."""
    store = FileStore(str(folder), fsync="data")
    path = with_two_versions(store)
    inodes: list[int] = []
    failing = 1

    def fdatasync(fd: int) -> None:
        inodes.append(os.fstat(fd).st_ino)
        if len(inodes) <= failing:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    before = path.stat().st_ino
    assert store.save(KEY, b"through a new file", FUTURE, expected_version=2) == 3
    assert inodes[0] == before
    assert inodes[1] != before
    assert store.load(KEY) == Record(3, b"through a new file", FUTURE)
    inodes.clear()
    failing = 100
    with pytest.raises(StoreUnavailable, match="disk"):
        store.save(KEY, b"lost", FUTURE, expected_version=3)
    assert len(inodes) == len(set(inodes)) == 2
    assert store.load(KEY) == Record(3, b"through a new file", FUTURE)


def test_a_full_file_system_leaves_the_old_record(folder: Path) -> None:
    """RLIMIT_FSIZE refuses every byte past the limit, as a full disk does."""
    program = """
import resource, signal, sys
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.stores.file.sessions import FileStore
store, key = FileStore(sys.argv[1]), sys.argv[2]
store.create(key, b"kept", 4e9)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    store.save(key, b"x" * 50_000, 4e9, expected_version=1)
except StoreUnavailable as error:
    assert error.attempts > 1
    assert store.load(key).payload == b"kept"
    store.save(key, b"still fits", 4e9, expected_version=1)
    store.delete(key)
    print("refused")
"""
    result = subprocess.run(
        [sys.executable, "-c", program, str(folder), KEY],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "refused\n"
    assert list((folder / "sessions").rglob(".tmp-*")) == []


# -- sweeping ----------------------------------------------------------------------------------


def test_leftovers_of_any_process_are_removed(folder: Path) -> None:
    backend = open_files(str(folder))
    backend.sessions.create(KEY, b"x", FUTURE)
    shard = path_of(folder).parent
    (shard / ".tmp-1-orphan").write_text("")
    (shard / ".nfs0000000000000001").write_text("alive")
    old = shard / ".nfs0000000000000002"
    old.write_text("long unused")
    os.utime(old, (1, 1))
    backend.index.add("alice", KEY, FUTURE)
    backend.index.add("alice", store_key(new_id()), 1.0)
    with backend.locks.hold(KEY, 1):
        (folder / "locks" / store_key(new_id())).write_text("")
        sweep = Sweeper(backend, interval=60, max_sessions=1).sweep()
        assert (folder / "locks" / KEY).exists()
    assert sweep.leftovers == {"temporaries": 1, "nfs": 1, "locks": 1, "index": 1, "leases": 0}
    assert (sweep.expired, sweep.live) == (0, 1)
    assert backend.index.keys_of("alice") == [KEY]
    assert sorted(path.name for path in shard.iterdir()) == sorted([".nfs0000000000000001", KEY])


def test_a_temporary_that_is_being_written_is_left_alone(store: FileStore, folder: Path) -> None:
    path_of(folder).parent.mkdir()
    temporary = store._files._write_temporary(str(path_of(folder)), KEY, NEW)
    with temporary.file:
        assert Sweeper(open_files(str(folder)), interval=60).sweep().leftovers["temporaries"] == 0
    assert Sweeper(open_files(str(folder)), interval=60).sweep().leftovers["temporaries"] == 1


def test_a_sweep_that_takes_a_fresh_temporary_for_an_orphan_loses_nothing(
    store: FileStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes by between the making of the file and its lock."""
    with_two_versions(store)
    swept: list[int] = []
    flock = fcntl.flock

    def sweep_first(fd: int, operation: int) -> None:
        if ".tmp-" in os.readlink(f"/proc/self/fd/{fd}") and len(swept) < 3:
            swept.append(1)
            os.unlink(os.readlink(f"/proc/self/fd/{fd}"))
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", sweep_first)
    assert store.save(KEY, b"x" * 10_000, FUTURE, expected_version=2) == 3
    assert len(swept) == 3
    store.create(store_key(new_id()), b"x", FUTURE)
    assert store.load(KEY) == Record(3, b"x" * 10_000, FUTURE)


def test_one_process_is_elected_at_a_time_and_then_none_for_a_while(folder: Path) -> None:
    first, second = open_files(str(folder)).leftovers, open_files(str(folder)).leftovers
    assert first is not None
    assert second is not None
    with first.elect(60) as one, second.elect(60) as other:
        assert (one, other) == (True, False)
        with second.elect(0) as other:
            assert not other, "due or not: one at a time"
    with second.elect(60) as other:
        assert not other
    with second.elect(0) as other:
        assert other
    ahead = time.time() + 3600
    os.utime(folder / "sweep", (ahead, ahead))
    with second.elect(60) as other:
        assert other, "a time in the future is of a clock that was set back"


def test_the_sweeper_runs_once_per_process_and_logs_what_it_did(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    backend = open_files(str(folder))
    backend.sessions.create(KEY, b"x", time.time() - 5)
    sweeper = Sweeper(backend, interval=3600)
    before = threading.active_count()
    for _ in range(3):
        sweeper.ensure_running()
    assert threading.active_count() <= before + 1
    deadline = time.monotonic() + 10
    while "removed 1 expired" not in caplog.text and time.monotonic() < deadline:
        time.sleep(0.01)
    sweeper.close()
    assert "removed 1 expired" in caplog.text
    assert not path_of(folder).exists()


def test_a_sweep_removes_all_that_has_expired_however_much() -> None:
    backend = open_memory()
    for number in range(CHUNK + 1):
        backend.sessions.create(str(number), b"x", 1.0)
    backend.sessions.create("live", b"x", FUTURE)
    assert Sweeper(backend, interval=60).sweep().expired == CHUNK + 1
    assert backend.iteration.count() == 1


def test_a_store_without_an_election_is_swept_by_every_process() -> None:
    backend = open_memory()
    backend.sessions.create(KEY, b"x", 1.0)
    Sweeper(backend, interval=60).rounds.sweep()
    assert backend.expired is not None
    assert backend.expired.delete_expired(1) == 0


def test_a_process_that_is_not_elected_sweeps_nothing(folder: Path) -> None:
    first, second = (Sweeper(open_files(str(folder)), interval=60) for _ in range(2))
    first.rounds.sweep()
    open_files(str(folder)).sessions.create(KEY, b"x", 1.0)
    second.rounds.sweep()
    assert path_of(folder).exists()


def test_the_last_sweeper_is_not_too_early_for_the_next_sweep(folder: Path) -> None:
    sweeper = Sweeper(open_files(str(folder)), interval=60)
    sweeper.rounds.sweep()
    open_files(str(folder)).sessions.create(KEY, b"x", 1.0)
    last = time.time() - 57
    os.utime(folder / "sweep", (last, last))
    sweeper.rounds.sweep()
    assert not path_of(folder).exists()


def test_a_crowd_is_swept_once_not_in_a_loop() -> None:
    sweeper = Sweeper(open_memory(), interval=3600, max_sessions=0)
    sweeper.note_created()
    sweeper.ensure_running()
    wait_until(lambda: not sweeper.rounds.is_due, "the end of the sweep")
    sweeper.close()


def test_a_crowd_brings_the_next_sweep_forward(folder: Path) -> None:
    sweeper = Sweeper(open_files(str(folder)), interval=3600, max_sessions=1)
    sweeper.rounds.sweep()
    open_files(str(folder)).sessions.create(KEY, b"x", 1.0)
    long_ago = time.time() - 60
    os.utime(folder / "sweep", (long_ago, long_ago))
    sweeper.note_created()
    sweeper.rounds.sweep()
    assert path_of(folder).exists(), "one is no crowd"
    sweeper.note_created()
    assert sweeper.rounds.is_due
    sweeper.rounds.sweep()
    assert not path_of(folder).exists()
    assert not sweeper.rounds.is_crowded, "counted anew"


def test_a_sweep_that_fails_is_logged_and_the_next_one_comes(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sweeper = Sweeper(open_files(str(folder)), interval=60)
    folder.rename(folder.with_name("elsewhere"))
    sweeper.rounds.advise()
    sweeper.rounds.sweep()
    assert "could not be examined" in caplog.text
    assert "sweep of the session store failed" in caplog.text


def test_the_sweeper_says_what_endangers_sessions_and_ends_when_it_is_stopped(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backend = open_files(str(folder))
    folder.chmod(0o755)
    sweeper = Sweeper(backend, interval=3600)
    before = set(threading.enumerate())
    sweeper.ensure_running()
    (thread,) = set(threading.enumerate()) - before
    wait_until(lambda: "has mode 755" in caplog.text, "the advice")
    sweeper.close()
    thread.join(10)
    assert not thread.is_alive()


def test_the_sweeper_runs_in_a_forked_child_too(folder: Path) -> None:
    program = """
import os, sys, threading, warnings
warnings.simplefilter("ignore")  # the fork of a process with threads is what is tested
from wsgi_sessions.stores.file.backend import open_files
from wsgi_sessions.stores.sweeper import Sweeper
sweeper = Sweeper(open_files(sys.argv[1]), interval=3600)
sweeper.ensure_running()
if os.fork() == 0:
    sweeper.ensure_running()
    os._exit(0 if any(t.name == "wsgi_sessions sweeper" for t in threading.enumerate()) else 1)
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    subprocess.run([sys.executable, "-c", program, str(folder)], check=True)


def test_a_cap_sweeps_early_and_never_evicts_a_live_session(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backend = open_files(str(folder))
    sweeper = Sweeper(backend, interval=3600, max_sessions=5)
    keys = [store_key(new_id()) for _ in range(8)]
    for key in keys:
        backend.sessions.create(key, b"x", FUTURE)
        sweeper.note_created()
    assert sweeper.rounds.is_due
    sweeper.rounds.sweep()
    assert backend.iteration.count() == 8
    assert "8 live sessions" in caplog.text


# -- the secret --------------------------------------------------------------------------------


def test_all_workers_get_one_secret(folder: Path) -> None:
    FileStore(str(folder))
    keepers = [open_files(str(folder)).secret for _ in range(8)]
    found: list[str] = []
    barrier = threading.Barrier(8)

    def ask(keeper: Any) -> None:
        barrier.wait()
        found.append(keeper.secret())

    threads = [threading.Thread(target=ask, args=(keeper,)) for keeper in keepers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert len(found[0]) >= 32
    assert sorted(p.name for p in folder.iterdir() if "secret" in p.name) == ["secret"]


def test_a_secret_that_others_can_read_stops_the_start(folder: Path) -> None:
    keeper = open_files(str(folder)).secret
    assert keeper is not None
    keeper.secret()
    (folder / "secret").chmod(0o644)
    with pytest.raises(ConfigurationError, match="read by other users"):
        keeper.secret()


# -- the layout --------------------------------------------------------------------------------


def test_any_bytes_parse_or_are_of_a_newer_format() -> None:
    chance = random.Random(20260101)
    for _ in range(3000):
        data = bytearray(pack_file(NEW, KEY))
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(140)] = chance.randrange(256)
        try:
            record = parse(
                bytes(data[: chance.choice([len(data), chance.randint(0, 200)])]), KEY
            ).record
        except UnsupportedFormat:
            continue
        assert record is None or record.payload == NEW.payload
